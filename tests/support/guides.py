"""Run the code of a guide as a user would, with the objects that the guide takes for granted."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.cli.main import run
from tests.support.house import ROOT

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS = 300


def blocks(page: str, *languages: str) -> list[tuple[str, str]]:
    """Return language and text of the code blocks of a page, in order; of all languages if none."""
    found = BLOCK.findall((ROOT / page).read_text())
    shown = [(language, text) for language, text in found if not languages or language in languages]
    assert shown, f"no such code in {page}"
    return shown


def run_python_of(
    page: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **given: Any
) -> dict[str, Any]:
    """Return the names that the blocks of a page leave, run one after the other in a folder."""
    monkeypatch.chdir(folder)
    names = dict(given)
    for number, (_, text) in enumerate(blocks(page, "python")):
        exec(compile(text, f"{page}, block {number}", "exec"), names)  # noqa: S102 - our own page
    return names


def typed(line: str) -> int:
    """Run a line of a shell block that calls our command, and return its exit code."""
    program, *arguments = shlex.split(line, comments=True)
    assert program == "stageaudit", line
    with pytest.raises(SystemExit) as ended:
        run(arguments)
    return int(ended.value.code or 0)


def lines_of(text: str) -> list[str]:
    """Return the commands of a shell block, one a line."""
    return text.replace("\\\n", " ").splitlines()


def execute(text: str) -> None:
    """Run the commands of a shell block in this process; each must succeed."""
    for line in lines_of(text):
        assert typed(line) == 0, line


def user_environment(folder: Path, *, demo: Path | None = None) -> dict[str, str]:
    """Return a user's environment in which ``stageaudit`` and ``python`` are those under test.

    Args:
        folder: An empty one for programs and home.
        demo: What ``stageaudit demo --keep demo`` left, to be copied where a page runs just that.
    """
    programs = folder / "bin"
    programs.mkdir()
    again = f'[ "$*" = "demo --keep demo" ] && exec cp -r "{demo}" demo\n' if demo else ""
    for name, prologue, arguments in (
        ("stageaudit", again, "-m service.cli.main"),
        ("python", "", ""),
    ):
        program = programs / name
        program.write_text(f'#!/bin/sh\n{prologue}exec "{sys.executable}" {arguments} "$@"\n')
        program.chmod(0o755)
    home = folder / "home"
    home.mkdir()
    return {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }


def run_page(page: str, folder: Path, environment: dict[str, str]) -> None:
    """Run the Python and shell blocks of a page, each as a process of its own in a folder."""
    for number, (language, text) in enumerate(blocks(page, "python", "sh")):
        command = [sys.executable, "-c", text] if language == "python" else ["bash", "-ec", text]
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, (
            f"block {number} of {page}:\n{text}\n{done.stdout}{done.stderr}"
        )
