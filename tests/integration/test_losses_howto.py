"""The page on losses and training facts: its code runs as it stands there."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "record-losses.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_page_runs_as_written(capsys: pytest.CaptureFixture[str]) -> None:
    shown = BLOCK.findall(PAGE.read_text())
    assert len(shown) == 2
    names: dict[str, object] = {}

    for text in shown:
        exec(text, names)  # noqa: S102 - a page of this repository

    assert capsys.readouterr().out == "stage_start\n"
    assert len(str(names["digest"])) == 64
