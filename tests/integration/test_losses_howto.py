"""The page on losses and training facts: its code runs as it stands there."""

import pytest

from tests.support.guides import blocks

PAGE = "docs/howto/record-losses.md"


def test_page_runs_as_written(capsys: pytest.CaptureFixture[str]) -> None:
    shown = blocks(PAGE, "python")
    assert len(shown) == 2
    names: dict[str, object] = {}

    for _, text in shown:
        exec(text, names)  # noqa: S102 - a page of this repository

    assert capsys.readouterr().out == "stage_start\n"
    assert len(str(names["digest"])) == 64
