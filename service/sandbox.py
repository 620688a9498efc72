"""Untrusted bytes are first opened in a child process with limits and no environment.

A child serves one request, of one or more checks, and ends with it. It answers a plain checked
description or a typed error, which is raised here; a child that dies names the limit it met.
"""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

from auditor.edge.clock import Clock
from auditor.errors import AuditorError, InputError, ResourceError
from auditor.stagelog.digest import Digest
from service.config import Limits
from service.failures import error_of, failure_from
from service.metrics import Metrics

READ_BYTES_PER_SECOND = 100_000_000
"""A child gets one more second for every so many bytes it has to hash and look at."""

ANSWER_BYTES = 64 * 2**20

_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from service.sandbox_child import main; main(sys.argv[1:])"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class StageLogDescription:
    """What a manifest says of itself."""

    run: str
    stages: tuple[str, ...]
    steps: int
    level: int
    blobs: tuple[Digest, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationSetDescription:
    """What the manifest of an evaluation set says of itself."""

    name: str
    examples: int
    columns: tuple[str, ...]
    blobs: tuple[Digest, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelDescription:
    """What a model artifact holds."""

    tensors: int
    elements: int


@final
class Child:
    """A running parse child; its methods block and raise the error that the check found."""

    def __init__(
        self, process: subprocess.Popen[bytes], *, seconds: float, clock: Clock, metrics: Metrics
    ) -> None:
        self._process = process
        self._seconds = seconds
        self._clock = clock
        self._metrics = metrics

    def stage_log(self, digest: Digest) -> StageLogDescription:
        """Describe a manifest, its blobs unopened."""
        plain = self._ask("stage_log", digest)
        return StageLogDescription(
            run=plain["run"],
            stages=tuple(plain["stages"]),
            steps=plain["steps"],
            level=plain["level"],
            blobs=tuple(plain["blobs"]),
        )

    def stage_log_content(self, digest: Digest) -> None:
        """Check every blob of a log against its manifest."""
        self._ask("stage_log_content", digest)

    def activations(self, digest: Digest) -> Mapping[str, int]:
        """Return the bytes of one example's activations, by graph of a log."""
        plain = self._ask("activations", digest)
        return {str(name): int(size) for name, size in plain.items()}

    def evaluation_set(self, digest: Digest) -> EvaluationSetDescription:
        """Describe an evaluation set, its blobs unopened."""
        plain = self._ask("evaluation_set", digest)
        return EvaluationSetDescription(
            name=plain["name"],
            examples=plain["examples"],
            columns=tuple(plain["columns"]),
            blobs=tuple(plain["blobs"]),
        )

    def evaluation_set_content(self, digest: Digest) -> None:
        """Check every shard of an evaluation set against its manifest."""
        self._ask("evaluation_set_content", digest)

    def model(self, digest: Digest, *, form: Literal["safetensors", "onnx"]) -> ModelDescription:
        """Describe a model artifact."""
        plain = self._ask(form, digest)
        return ModelDescription(tensors=plain["tensors"], elements=plain["elements"])

    def metric(self, digest: Digest) -> None:
        """Check that an ONNX graph is a metric (output, target) -> value."""
        self._ask("metric", digest)

    def _ask(self, check: str, digest: Digest) -> Mapping[str, Any]:
        request = json.dumps({"check": check, "digest": digest}) + "\n"
        try:
            os.write(_descriptor(self._process.stdin), request.encode())
        except BrokenPipeError as error:
            raise self._dead(check) from error
        line = self._read_line(check)
        if not line.endswith(b"\n"):
            raise self._dead(check)
        reply = json.loads(line)
        if "error" in reply:
            raise error_of(failure_from(reply["error"]))
        if "limit" in reply:
            raise self._limit_met(check, limit=reply["limit"])
        plain: Mapping[str, Any] = reply["ok"]
        return plain

    def _read_line(self, check: str) -> bytes:
        """Return the answer up to its newline, or less when the child ended."""
        descriptor = _descriptor(self._process.stdout)
        deadline = self._clock.monotonic() + self._seconds
        parts = bytearray()
        while not parts.endswith(b"\n") and len(parts) <= ANSWER_BYTES:
            left = deadline - self._clock.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                self._process.kill()
                raise self._limit_met(check, limit="time")
            data = os.read(descriptor, 2**16)
            if not data:
                break
            parts += data
        return bytes(parts)

    def _dead(self, check: str) -> AuditorError:
        ended = self._process.wait()
        if -ended == signal.SIGXCPU:
            return self._limit_met(check, limit="processor time")
        if -ended == signal.SIGKILL:
            return self._limit_met(check, limit="memory")
        self._metrics.sandbox_kills.labels(limit="crash").inc()
        return InputError(
            check.replace("_", " "),
            expected="a file that can be parsed",
            found=f"the parser ended with status {ended}",
            remedy="Write the file again with a current exporter.",
        )

    def _limit_met(self, check: str, *, limit: str) -> ResourceError:
        self._metrics.sandbox_kills.labels(limit=limit).inc()
        return ResourceError(
            check.replace("_", " "),
            expected=f"a file that can be checked within the limit on {limit}",
            found="one that cannot",
            remedy="Split it, or ask the operator to raise limits.parse_*.",
        )


@final
class Sandbox:
    """Starts parse children.

    Args:
        root: The data folder, whose blobs the children read.
        limits: Their limits.
        clock: Measures their wall time.
        metrics: Counts those that met a limit.
    """

    def __init__(self, root: Path, *, limits: Limits, clock: Clock, metrics: Metrics) -> None:
        self._root = root
        self._limits = limits
        self._clock = clock
        self._metrics = metrics

    @contextmanager
    def child(self, *, mapped_bytes: int) -> Iterator[Child]:
        """Start a child for one request.

        Args:
            mapped_bytes: Size of all blobs that it will read; bounds its address space and time.

        Yields:
            The child, which ends with the block.
        """
        extra = mapped_bytes / READ_BYTES_PER_SECOND
        arguments = (
            json.dumps([str(Path(entry).resolve()) for entry in sys.path]),
            str(self._root.resolve()),
            str(self._limits.parse_address_space_bytes),
            str(mapped_bytes),
            str(self._limits.parse_cpu_seconds + int(extra)),
        )
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-I", "-c", _BOOT, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Thread pools of the numerical libraries would eat the address space.
            env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            cwd="/",
            start_new_session=True,
        )
        seconds = self._limits.parse_wall_seconds + extra
        try:
            yield Child(process, seconds=seconds, clock=self._clock, metrics=self._metrics)
        finally:
            process.kill()
            with process:
                pass


def _descriptor(pipe: object) -> int:
    descriptor: int = pipe.fileno()  # type: ignore[attr-defined]  # both pipes are there
    return descriptor
