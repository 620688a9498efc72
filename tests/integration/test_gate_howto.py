"""docs/howto/gate-a-release.md is followed literally: baseline, regression, gate, repair, gate."""

import json
import re
from pathlib import Path

import pytest
import torch

from tests.support.guides import blocks, typed
from tests.support.house import ROOT

PAGE = "docs/howto/gate-a-release.md"
CODE = re.compile(r"  # exit code (\d+)$")


@pytest.mark.slow
def test_page_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    printed: list[str] = []
    with torch.random.fork_rng():
        for language, text in blocks(PAGE):
            match language:
                case "python":
                    exec(compile(text, PAGE, "exec"), {})  # noqa: S102 - the page's own code
                case "yaml":
                    name = text.splitlines()[0].removeprefix("# ")
                    (tmp_path / name).write_text(text)
                case "sh":
                    printed += [said_by(line, capsys) for line in text.splitlines()]
                case "text":
                    assert " ".join(text.split()) in " ".join(printed[-1].split()), printed[-1]

    assert "pass: 0" not in printed[-1]
    assert printed[-1].splitlines()[-1].startswith("pass: ")
    assert "replace vendor" in (tmp_path / "gate.md").read_text()
    assert 'failures="2"' in (tmp_path / "gate.xml").read_text()


def said_by(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run one line of the page, check its exit code, and return what it printed."""
    found = CODE.search(line)
    capsys.readouterr()
    code = typed(line)
    said = capsys.readouterr()
    assert code == (int(found[1]) if found else 0), (line, said.out, said.err)
    return said.out


def test_schemas_of_the_page_are_published() -> None:
    for name in ("policy", "gate"):
        schema = json.loads((ROOT / f"docs/reference/{name}.schema.json").read_text())
        assert schema["properties"]["schema"]["const"] == f"stageaudit.{name}.v1"
