"""The ready pipelines are valid, and every command in them is one that exists."""

import shlex
import subprocess

import pytest
import yaml

from service.cli.main import run
from tests.support.house import ROOT

PIPELINES = {"github-actions.yml": "vendor.github-workflows", "gitlab-ci.yml": "vendor.gitlab-ci"}


@pytest.mark.parametrize(("name", "schema"), PIPELINES.items())
def test_pipeline_is_valid_by_its_published_schema(name: str, schema: str) -> None:
    checked = subprocess.run(
        ["check-jsonschema", "--builtin-schema", schema, str(ROOT / "examples/ci" / name)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("name", PIPELINES)
def test_pipeline_uses_commands_and_options_that_exist(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = list(_commands(yaml.safe_load((ROOT / "examples/ci" / name).read_text())))

    assert [words[1] for words in commands] == ["audit", "gate"]
    for words in commands:
        with pytest.raises(SystemExit):
            run([words[1], "--help"])
        shown = capsys.readouterr().out
        for option in (word for word in words if word.startswith("--")):
            assert option in shown, option


def _commands(document: object) -> list[list[str]]:
    """Return every command of ours in a document, as words."""
    match document:
        case str() if document.startswith("stageaudit "):
            return [shlex.split(document)]
        case dict():
            return [words for part in document.values() for words in _commands(part)]
        case list():
            return [words for part in document for words in _commands(part)]
        case _:
            return []
