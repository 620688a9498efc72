"""docs/howto/check-and-recover.md is run as it stands there, in one process."""

import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml

from auditor.plan.derivation import Cast, FoldBatchNorm, MergeLora, Rename
from service.cli.main import run
from service.cli.request_file import resolve_request
from tests.integration.test_readme import ROOT, AnyPlaces

PAGE = "docs/howto/check-and-recover.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(*languages: str) -> list[tuple[str, str]]:
    found = BLOCK.findall((ROOT / PAGE).read_text())
    return [(language, text) for language, text in found if language in languages]


@pytest.mark.slow
def test_page_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    commands = 0
    with torch.random.fork_rng():
        for language, text in blocks("python", "sh"):
            if language == "python":
                exec(compile(text, PAGE, "exec"), {})  # noqa: S102 - the page's own code
                continue
            for line in text.replace("\\\n", " ").splitlines():
                program, *arguments = shlex.split(line)
                assert program == "stageaudit"
                with pytest.raises(SystemExit) as ended:
                    run(arguments)
                assert not ended.value.code, line
                commands += 1

    assert commands == 12


def test_declared_derivation_of_the_page_is_a_valid_request(tmp_path: Path) -> None:
    for name in ("my-log", "heldout"):
        (tmp_path / name).mkdir()
    (tmp_path / "deployed.safetensors").touch()
    ((_, text),) = blocks("yaml")
    document = {**yaml.safe_load(text), "interventions": "stages"}

    request = resolve_request(document, base=tmp_path, places=AnyPlaces())

    assert [type(step) for step in request.derivation or ()] == [
        MergeLora, Rename, FoldBatchNorm, Cast,
    ]  # fmt: skip
