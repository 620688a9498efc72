"""An Engine without torch for worker processes; an action's seed says what it does."""

import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import final

from auditor.edge.folder import FolderBlobs
from auditor.errors import NumericalError, UnavailableError
from auditor.plan.actions import ActionKey, ActionSpec, Advance, Recorded
from auditor.stagelog.digest import Digest, canonical_bytes, sha256
from service.executors.base import Halfway

ENGINE = "tests.support.fake_engine:open_fake"
ENDLESS = "tests.support.fake_engine:open_endless"
SMALL_MEMORY = "tests.support.fake_engine:open_small_memory"
NO_ENGINE = "tests.support.fake_engine:open_none"
BLOCK_SECONDS = 0.005
LANE_BYTES = 64 * 2**20
PAGE_BYTES = resource.getpagesize()


class Behaviour(IntEnum):
    """What computing an action does; the seed of its spec."""

    SUCCEED = 0
    FAIL = 1
    CRASH = 2
    EXIT = 3
    RUN_UNTIL_STOPPED = 4
    RAISE_A_BUG = 5
    EXHAUST_MEMORY = 6
    PRINT = 7
    LOSE_DEVICE = 8


@dataclass(frozen=True, kw_only=True)
class FakeResult:
    digest: Digest
    gradient_examples: int
    execution: Digest | None = None


@final
class FakeEngine:
    def __init__(self, blobs: FolderBlobs, *, always: Behaviour | None = None) -> None:
        self._blobs = blobs
        self._always = always

    def execute(
        self,
        specs: Sequence[ActionSpec],
        *,
        results: Mapping[ActionKey, Digest],
        on_block: Callable[[int, int], None],
    ) -> list[FakeResult]:
        for spec in specs:
            behaviour = self._always
            if behaviour is None:
                behaviour = Behaviour(getattr(spec, "seed", 0))
            self._behave(behaviour, on_block)
        return [
            FakeResult(
                digest=self._blobs.write(b"result of " + canonical_bytes(spec)),
                gradient_examples=len(results),
            )
            for spec in specs
        ]

    def forget(self) -> None:
        """There is nothing."""

    def save(self) -> Iterator[Halfway]:
        """Yield nothing: what it computes is not worth saving."""
        yield from ()

    def resume(self, spec: ActionSpec, data: bytes | memoryview) -> int:
        return 0

    def _behave(self, behaviour: Behaviour, on_block: Callable[[int, int], None]) -> None:
        match behaviour:
            case Behaviour.FAIL:
                raise NumericalError("steps[3]", expected="finite", found="inf", remedy="Lower lr.")
            case Behaviour.CRASH:
                os.kill(os.getpid(), signal.SIGSEGV)
            case Behaviour.EXIT:
                os._exit(3)
            case Behaviour.RUN_UNTIL_STOPPED:
                never = threading.Event()
                for step in range(10_000):
                    on_block(step, 10_000)
                    never.wait(BLOCK_SECONDS)
            case Behaviour.RAISE_A_BUG:
                raise KeyError("a bug")
            case Behaviour.EXHAUST_MEMORY:
                raise MemoryError
            case Behaviour.PRINT:
                sys.stdout.write("a library prints\n")
                sys.stdout.flush()
            case Behaviour.LOSE_DEVICE:
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            case Behaviour.SUCCEED:
                pass


def open_fake(blobs: FolderBlobs, *, device: str, threads: int) -> FakeEngine:
    assert (device, threads) == ("cpu", 1)
    return FakeEngine(blobs)


def open_endless(blobs: FolderBlobs, *, device: str, threads: int) -> FakeEngine:
    """Return an engine whose actions run for a minute unless they are stopped."""
    return FakeEngine(blobs, always=Behaviour.RUN_UNTIL_STOPPED)


@final
class HungryEngine:
    """Holds :data:`LANE_BYTES` for every lane until its group is done, as real lanes do."""

    def __init__(self, blobs: FolderBlobs) -> None:
        self._engine = FakeEngine(blobs)

    def execute(
        self,
        specs: Sequence[ActionSpec],
        *,
        results: Mapping[ActionKey, Digest],
        on_block: Callable[[int, int], None],
    ) -> list[FakeResult]:
        lanes = [bytearray(LANE_BYTES) for _ in specs]
        for lane in lanes:
            lane[::PAGE_BYTES] = b"x" * len(lane[::PAGE_BYTES])  # untouched memory is not resident
        return self._engine.execute(specs, results=results, on_block=on_block)


def open_small_memory(blobs: FolderBlobs, *, device: str, threads: int) -> HungryEngine:
    """Return an engine in whose process four lanes fit and no more."""
    space = int(Path("/proc/self/statm").read_text().split()[0]) * PAGE_BYTES
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (space + int(4.5 * LANE_BYTES), hard))
    return HungryEngine(blobs)


def open_none(blobs: FolderBlobs, *, device: str, threads: int) -> FakeEngine:
    raise UnavailableError(device, expected="a device", found="none", remedy="Buy one.")


def make_spec(behaviour: Behaviour = Behaviour.SUCCEED, *, replica: int = 0) -> Advance:
    return Advance(
        log=sha256(b"log"), stage=0, start=Recorded(boundary=0), seed=int(behaviour),
        replica=replica,
    )  # fmt: skip


def result_of(spec: ActionSpec) -> Digest:
    return sha256(b"result of " + canonical_bytes(spec))
