"""Run one job in a child process that ends with it: JSON in, JSON lines out, a time limit."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from time import monotonic
from typing import IO, Any

from auditor.errors import AuditorError, InternalError, ResourceError
from service.failures import error_of, failure_from

ANSWER_BYTES = 64 * 2**20
STDERR_CHARACTERS = 2000

_BOOT = (
    "import sys, json, importlib; sys.path[:] = json.loads(sys.argv[1]); "
    "importlib.import_module(sys.argv[2]).main()"
)

Plain = dict[str, Any]
OnProgress = Callable[[str], None]


def run_job(
    module: str,
    job: Mapping[str, Any],
    *,
    what: str,
    seconds: float,
    environment: Mapping[str, str],
    on_progress: OnProgress = lambda _: None,
) -> Plain:
    """Return what a child answers to a job.

    Args:
        module: Its ``main`` reads the job from stdin and writes JSON lines.
        job: What is to be done.
        what: What the job is about, for messages.
        seconds: A child that takes longer is ended.
        environment: All of the child's environment.
        on_progress: Told what the child says of its progress.

    Raises:
        AuditorError: What the child found wrong.
        ResourceError: If it met a limit.
        InternalError: If it ended without an answer.
    """
    with TemporaryFile() as said, _child(module, environment=environment, said=said) as process:
        _send(process, job)
        deadline = monotonic() + seconds
        for line in _lines(process, deadline=deadline, what=what):
            reply = json.loads(line)
            if "progress" in reply:
                on_progress(reply["progress"])
            elif "error" in reply:
                raise error_of(failure_from(reply["error"]))
            elif "limit" in reply:
                raise _limit_met(what, limit=reply["limit"])
            else:
                answer: Plain = reply["ok"]
                return answer
        raise _dead(what, status=process.wait(), said=said)


@contextmanager
def _child(
    module: str, *, environment: Mapping[str, str], said: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    path = json.dumps([str(Path(entry).resolve()) for entry in sys.path])
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-I", "-c", _BOOT, path, module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        env=dict(environment),
        cwd="/",
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        with process:
            pass


def _send(process: subprocess.Popen[bytes], job: Mapping[str, Any]) -> None:
    if process.stdin is not None:
        try:
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.close()
        except BrokenPipeError:
            return  # it died: its end is found when its answer is read


def _lines(process: subprocess.Popen[bytes], *, deadline: float, what: str) -> Iterator[bytes]:
    """Yield whole lines until the child closes its output."""
    if process.stdout is None:
        return
    descriptor = process.stdout.fileno()
    waiting = bytearray()
    while len(waiting) <= ANSWER_BYTES:
        left = deadline - monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            raise _limit_met(what, limit="time")
        data = os.read(descriptor, 2**16)
        if not data:
            return
        waiting += data
        while b"\n" in waiting:
            line, _, rest = bytes(waiting).partition(b"\n")
            waiting = bytearray(rest)
            yield line


def _dead(what: str, *, status: int, said: IO[bytes]) -> AuditorError:
    if -status == signal.SIGXCPU:
        return _limit_met(what, limit="processor time")
    if -status == signal.SIGKILL:
        return _limit_met(what, limit="memory")
    said.seek(0)
    last = said.read().decode(errors="replace")[-STDERR_CHARACTERS:].strip().splitlines()
    return InternalError(
        what,
        expected="an answer of the child process",
        found=f"its end with status {status}: {last[-1] if last else 'nothing said'}",
        remedy="Report this, with what `stageaudit doctor` prints.",
    )


def _limit_met(what: str, *, limit: str) -> ResourceError:
    return ResourceError(
        what,
        expected=f"a file that can be read within the limit on {limit}",
        found="one that cannot",
        remedy="Use a machine with more memory, or a smaller file; a file that asks for much more "
        "memory than its own size is not what it says.",
    )
