"""docs/howto/import-checkpoints.md is run as it stands there, in one process."""

import json
from pathlib import Path

import pytest
import torch

from auditor.edge.folder import read_log
from tests.support import hf_folders
from tests.support.guides import blocks, execute
from tests.support.house import ROOT
from tests.support.text_models import SENTENCES

PAGE = "docs/howto/import-checkpoints.md"

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.mark.slow
def test_page_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model = hf_folders.bert()
    hf_folders.save(model, Path("base"))
    for seed, name in enumerate(("sft", "final")):
        hf_folders.save(hf_folders.trained(model, steps=2, seed=seed), Path(name))
    rows = [{"text": text, "label": i % 2} for i, text in enumerate(SENTENCES)]
    Path("eval.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    shown = blocks(PAGE)
    assert [language for language, _ in shown] == ["sh", "sh", "sh", "python", "sh"]

    with torch.random.fork_rng():
        for language, text in shown:
            if language == "sh":
                execute(text)
            else:
                exec(compile(text, PAGE, "exec"), {})  # noqa: S102 - the page's own code

    printed = capsys.readouterr().out
    assert "not resolved" in printed
    assert "What they cannot answer" in printed
    assert [stage.name for stage in read_log(Path("own-log"))[0].stages] == ["after"]
    assert read_log(Path("log"))[0].level == 0


def test_the_page_says_what_refusals_say() -> None:
    page, source = (ROOT / PAGE).read_text(), (ROOT / "auditor/record/fitted_state.py").read_text()

    for words in ("a replaced head?", "resized embeddings?", "--added zeros", "dequantize()"):
        assert words in page
        assert words in source
