"""A worker without a process, and an engine that counts: for tests of what a worker does."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import pytest

from auditor.edge.folder import FolderBlobs
from auditor.plan.actions import ActionKey, ActionSpec, Advance, key_of
from auditor.stagelog.digest import Digest
from service.executors.base import Engine
from service.executors.device_memory import meter_of
from service.executors.wire import FROM_WORKER, RunGroup, WireAction
from service.saved_states import SavedStates
from service.saving import Saving
from service.worker import GroupRunner, Inbox, Outbox
from tests.support.fake_clock import FakeClock
from tests.support.fake_engine import make_spec

BLOCK, STEPS = 10, 50
FENCE = 7


@dataclass(frozen=True, kw_only=True)
class Place:
    key: ActionKey
    step: int
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Result:
    digest: Digest
    gradient_examples: int = 1
    execution: Digest | None = None


@final
class CountingEngine:
    """Actions of 50 steps, ten a block; counts the blocks and does at each what a test says."""

    def __init__(self, blobs: FolderBlobs) -> None:
        self._blobs = blobs
        self._at: dict[ActionKey, int] = {}
        self.blocks: list[tuple[int, int]] = []  #: (lanes, step) of each
        self.at_block: dict[int, Callable[[], None]] = {}
        self.forgotten = 0  #: times that it let go of what had stopped
        self.on_save: Callable[[], None] = lambda: None

    def execute(
        self,
        specs: Sequence[ActionSpec],
        *,
        results: Mapping[ActionKey, Digest],
        on_block: Callable[[int, int], None],
    ) -> list[Result]:
        keys = [key_of(spec) for spec in specs]
        first = min(self._at.get(key, 0) for key in keys)
        for step in range(first + BLOCK, STEPS + 1, BLOCK):
            self._at |= {key: max(step, self._at.get(key, 0)) for key in keys}
            self.blocks.append((len(keys), step))
            self.at_block.get(len(self.blocks), lambda: None)()
            on_block(step * len(keys), STEPS * len(keys))
        return [Result(digest=self._blobs.write(key.encode())) for key in keys]

    def forget(self) -> None:
        self._at.clear()
        self.forgotten += 1

    def save(self) -> Iterator[Place]:
        for key, step in self._at.items():
            self.on_save()
            yield Place(key=key, step=step, data=f"{key} {step}".encode())

    def resume(self, spec: ActionSpec, data: bytes | memoryview) -> int:
        key, _, step = bytes(data).decode().partition(" ")
        assert key == key_of(spec)
        self._at[ActionKey(key)] = int(step)
        return int(step)


@dataclass
class WorkerRig:
    """A worker without a process: what it is asked, what it answers, and its clock."""

    root: Path
    engine: Engine
    seconds: float = 60.0
    clock: FakeClock = field(default_factory=FakeClock)
    inbox: Inbox = field(default_factory=Inbox)
    pipe: io.BytesIO = field(default_factory=io.BytesIO)

    def __post_init__(self) -> None:
        self.states = SavedStates(self.root)

    def run(self, *specs: ActionSpec, saved: Mapping[int, str] | None = None) -> None:
        """Compute one group; ``saved`` holds digests by the position of their actions."""
        hints = saved or {}
        actions = tuple(
            WireAction(
                key=key_of(spec), fence=FENCE + number, spec=spec.model_dump_json(),
                saved=hints.get(number),
            )
            for number, spec in enumerate(specs)
        )  # fmt: skip
        saving = Saving(
            self.engine, self.states, seconds=self.seconds, monotonic=self.clock.monotonic
        )
        outbox = Outbox(self.pipe)
        runner = GroupRunner(
            self.engine,
            FolderBlobs(self.root),
            inbox=self.inbox,
            outbox=outbox,
            meter=meter_of("cpu"),
            saving=saving,
            monotonic=self.clock.monotonic,
        )
        runner.run(RunGroup(group=1, actions=actions, results={}))

    def cancel(self, *specs: ActionSpec) -> None:
        keys = [key_of(spec) for spec in specs]
        line = f'{{"type":"cancel","group":1,"keys":{keys}}}\n'.replace("'", '"')
        with pytest.raises(EndOfPipe):
            self.inbox.read(ended_after(line.encode()))

    def answers(self) -> list[object]:
        lines = self.pipe.getvalue().splitlines()
        return [FROM_WORKER.validate_json(line) for line in lines]

    def told(self, kind: type) -> list[object]:
        return [message for message in self.answers() if isinstance(message, kind)]


class EndOfPipe(Exception):  # noqa: N818 - a signal
    """Where a real worker would end with its pipe."""


def ended_after(data: bytes) -> io.BytesIO:
    @final
    class Pipe(io.BytesIO):
        def __next__(self) -> bytes:
            try:
                return super().__next__()
            except StopIteration:
                raise EndOfPipe from None

    return Pipe(data)


def lanes(count: int) -> list[Advance]:
    return [make_spec(replica=replica) for replica in range(count)]
