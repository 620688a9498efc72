"""docs/howto/check-and-recover.md is run as it stands there, in one process."""

from pathlib import Path

import pytest
import torch
import yaml

from auditor.plan.derivation import Cast, FoldBatchNorm, MergeLora, Rename
from service.cli.request_file import resolve_request
from tests.integration.test_readme import AnyPlaces
from tests.support.guides import blocks, lines_of, typed

PAGE = "docs/howto/check-and-recover.md"


@pytest.mark.slow
def test_page_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    commands = 0
    with torch.random.fork_rng():
        for language, text in blocks(PAGE, "python", "sh"):
            if language == "python":
                exec(compile(text, PAGE, "exec"), {})  # noqa: S102 - the page's own code
                continue
            for line in lines_of(text):
                assert typed(line) == 0, line
                commands += 1

    assert commands == 12


def test_declared_derivation_of_the_page_is_a_valid_request(tmp_path: Path) -> None:
    for name in ("my-log", "heldout"):
        (tmp_path / name).mkdir()
    (tmp_path / "deployed.safetensors").touch()
    ((_, text),) = blocks(PAGE, "yaml")
    document = {**yaml.safe_load(text), "interventions": "stages"}

    request = resolve_request(document, base=tmp_path, places=AnyPlaces())

    assert [type(step) for step in request.derivation or ()] == [
        MergeLora, Rename, FoldBatchNorm, Cast,
    ]  # fmt: skip
