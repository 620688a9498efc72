"""Run the code of a guide as a user would, with the objects that the guide takes for granted."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.house import ROOT

BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def run_python_of(
    page: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **given: Any
) -> dict[str, Any]:
    """Return the names that the blocks of a page leave, run one after the other in a folder."""
    blocks = BLOCK.findall((ROOT / page).read_text())
    assert blocks, f"no code in {page}"
    monkeypatch.chdir(folder)
    names = dict(given)
    for number, text in enumerate(blocks):
        exec(compile(text, f"{page}, block {number}", "exec"), names)  # noqa: S102 - our own page
    return names
