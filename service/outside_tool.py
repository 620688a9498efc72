"""Programs of the requester that measure checkpoints: named on the command line, run here.

Only `stageaudit audit --local` runs one, and only what its own ``--outside`` says: never what a
request says, and never in a service.
"""

import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from os import killpg
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import final

from typing_extensions import override

from auditor.audit.outside import OutsideEvaluator, OutsideValues
from auditor.effects import Tool, ToolFile
from auditor.errors import InputError, PermissionDeniedError, PreconditionError, ResourceError
from auditor.stagelog.digest import Digest, sha256
from service.outside_values import read_values

CHECKPOINT, VALUES = "{checkpoint}", "{values}"
FORM = "NAME[@VERSION]=COMMAND with {checkpoint} and {values}"
STDERR_LINES = 20
"""How much of what a tool said last is shown when it fails."""


def parse_tools(texts: Sequence[str]) -> dict[str, Tool]:
    """Return the tools that ``--outside`` names, by name.

    Raises:
        InputError: If a text has another form, or names a tool twice.
        PreconditionError: If its program is not found.
    """
    found: dict[str, Tool] = {}
    for text in texts:
        tool = _parse_tool(text)
        if tool.name in found:
            raise InputError(
                "--outside", expected="every tool once", found=tool.name,
                remedy="Give the tools different names.",
            )  # fmt: skip
        found[tool.name] = tool
    return found


def _parse_tool(text: str) -> Tool:
    label, given, line = text.partition("=")
    name, _, version = label.partition("@")
    try:
        command = tuple(shlex.split(line))
    except ValueError as error:
        raise InputError("--outside", expected=FORM, found=error, remedy="Close quotes.") from error
    if not (given and name and all(any(p in part for part in command) for p in _PLACES)):
        raise InputError(
            "--outside",
            expected=FORM,
            found=text,
            remedy="Say where the command takes the paths of the checkpoint and of its values.",
        )
    program = shutil.which(command[0])
    if program is None:
        raise PreconditionError(
            f"--outside {name}",
            expected="a program that can be run",
            found=command[0],
            remedy="Give its path, and make it executable.",
        )
    files = dict.fromkeys([Path(program), *(Path(part) for part in command[1:] if _is_file(part))])
    return Tool(
        name=name,
        version=version or None,
        command=command,
        files=tuple(ToolFile(name=path.name, digest=_digest(path)) for path in files),
    )


_PLACES = (CHECKPOINT, VALUES)


@final
class CommandTools(OutsideEvaluator):
    """Runs the tools that the command line named.

    Args:
        tools: By name, as :func:`parse_tools` returned them.
        limit_seconds: A tool that takes longer for one checkpoint is ended.
    """

    def __init__(self, tools: Mapping[str, Tool], *, limit_seconds: float) -> None:
        self._tools = tools
        self._limit_seconds = limit_seconds

    @override
    def evaluate(self, tool: Tool, checkpoint: bytes) -> OutsideValues:
        if self._tools.get(tool.name) != tool:
            raise PermissionDeniedError(
                f"tool {tool.name!r}",
                expected="a tool that --outside names, with the same command and files",
                found="another one, or none",
                remedy=f"Run with `--outside {tool.name}=COMMAND`.",
            )
        with TemporaryDirectory(prefix="stageaudit-outside-") as folder:
            paths = {
                CHECKPOINT: Path(folder) / "checkpoint.safetensors",
                VALUES: Path(folder) / "values",
            }
            paths[CHECKPOINT].write_bytes(checkpoint)
            arguments = [_filled(part, paths) for part in tool.command]
            _run(arguments, said=Path(folder) / "said", tool=tool, seconds=self._limit_seconds)
            return read_values(paths[VALUES], tool=tool.name)


def _filled(part: str, paths: Mapping[str, Path]) -> str:
    for place, path in paths.items():
        part = part.replace(place, str(path))
    return part


def _run(arguments: Sequence[str], *, said: Path, tool: Tool, seconds: float) -> None:
    """Run a command to its end, which is also the end of whatever it started."""
    with said.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603 - the user's own command line says what to run
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that all of it can be ended together
        )
        try:
            status = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise ResourceError(
                f"tool {tool.name!r}",
                expected=f"an end within {seconds:g} s for each checkpoint",
                found="none",
                remedy=f"Raise --outside-seconds, or measure less.{_last_lines(said)}",
            ) from error
        finally:  # Ctrl-C and the time limit come by here
            if process.poll() is None:
                killpg(process.pid, signal.SIGKILL)
                process.wait()
    if status != 0:
        raise PreconditionError(
            f"tool {tool.name!r}",
            expected="exit code 0",
            found=f"exit code {status}" if status > 0 else f"an end by signal {-status}",
            remedy=f"Run it by hand on a checkpoint.{_last_lines(said)}",
        )


def _last_lines(said: Path) -> str:
    """Return what a tool said last, on lines of their own; nothing if it said nothing."""
    lines = said.read_text(errors="replace").splitlines()[-STDERR_LINES:]
    return "".join(f"\n  | {line}" for line in ["it said:", *lines]) if lines else ""


def _is_file(part: str) -> bool:
    return not any(place in part for place in _PLACES) and Path(part).is_file()


def _digest(path: Path) -> Digest:
    return sha256(path.read_bytes())
