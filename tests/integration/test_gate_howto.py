"""docs/howto/gate-a-release.md is followed literally: baseline, regression, gate, repair, gate."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch

from service.cli.main import run
from tests.integration.test_readme import ROOT

PAGE = "docs/howto/gate-a-release.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"  # exit code (\d+)$")


@pytest.mark.slow
def test_page_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    printed: list[str] = []
    with torch.random.fork_rng():
        for language, text in BLOCK.findall((ROOT / PAGE).read_text()):
            match language:
                case "python":
                    exec(compile(text, PAGE, "exec"), {})  # noqa: S102 - the page's own code
                case "yaml":
                    name = text.splitlines()[0].removeprefix("# ")
                    (tmp_path / name).write_text(text)
                case "sh":
                    printed += [typed(line, capsys) for line in text.splitlines()]
                case "text":
                    assert " ".join(text.split()) in " ".join(printed[-1].split()), printed[-1]

    assert "pass: 0" not in printed[-1]
    assert printed[-1].splitlines()[-1].startswith("pass: ")
    assert "replace vendor" in (tmp_path / "gate.md").read_text()
    assert 'failures="2"' in (tmp_path / "gate.xml").read_text()


def typed(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run one line of the page, check its exit code, and return what it printed."""
    found = CODE.search(line)
    program, *arguments = shlex.split(line, comments=True)
    assert program == "stageaudit"
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run(arguments)
    said = capsys.readouterr()
    assert int(ended.value.code or 0) == (int(found[1]) if found else 0), (line, said.out, said.err)
    return said.out


def test_schemas_of_the_page_are_published() -> None:
    for name in ("policy", "gate"):
        schema = json.loads((ROOT / f"docs/reference/{name}.schema.json").read_text())
        assert schema["properties"]["schema"]["const"] == f"stageaudit.{name}.v1"
