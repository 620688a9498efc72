"""A worker saves, goes on from what is saved, and lets lanes leave a running group."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import pytest

from auditor.audit.execute import Worker
from auditor.edge.folder import FolderBlobs
from auditor.errors import ResourceError
from auditor.model.tensors import read_tensors
from auditor.plan.actions import ActionKey, ActionSpec, Advance, Recorded, key_of
from auditor.plan.request import Intervention
from auditor.stagelog.digest import Digest
from service.executors.base import Engine
from service.executors.device_memory import meter_of
from service.executors.wire import (
    FROM_WORKER,
    Abandoned,
    Done,
    Resumed,
    RunGroup,
    Saved,
    WireAction,
)
from service.saved_states import SavedStates
from service.saving import COST_FACTOR, Saving
from service.worker import GroupRunner, Inbox, Outbox
from tests.support.builders import RecordedRun, make_stage_log
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


@final
class CountingEngine:
    """Actions of 50 steps, ten a block; counts the blocks and does at each what a test says."""

    def __init__(self, blobs: FolderBlobs) -> None:
        self._blobs = blobs
        self._at: dict[ActionKey, int] = {}
        self.blocks: list[tuple[int, int]] = []  #: (lanes, step) of each
        self.at_block: dict[int, Callable[[], None]] = {}
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
class Rig:
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


@pytest.fixture
def counting(tmp_path: Path) -> CountingEngine:
    return CountingEngine(FolderBlobs(tmp_path))


def lanes(count: int) -> list[Advance]:
    return [make_spec(replica=replica) for replica in range(count)]


def test_states_are_saved_after_so_many_seconds_of_computing(
    tmp_path: Path, counting: CountingEngine
) -> None:
    rig = Rig(tmp_path, counting)
    counting.at_block = {2: lambda: rig.clock.advance(59), 4: lambda: rig.clock.advance(1)}
    first, second = lanes(2)

    rig.run(first, second)

    (saved,) = rig.told(Saved)
    assert isinstance(saved, Saved)
    assert [(own.key, own.fence, own.step) for own in saved.saved] == [
        (key_of(first), FENCE, 40),
        (key_of(second), FENCE + 1, 40),
    ]
    assert rig.states.read(Digest(saved.saved[0].digest)) == f"{key_of(first)} 40".encode()
    assert isinstance(rig.answers()[-1], Done)


def test_a_save_that_takes_long_is_not_repeated_soon(
    tmp_path: Path, counting: CountingEngine
) -> None:
    rig = Rig(tmp_path, counting, seconds=1)
    counting.on_save = lambda: rig.clock.advance(2)
    counting.at_block = {
        1: lambda: rig.clock.advance(1),
        3: lambda: rig.clock.advance(2 * COST_FACTOR - 1),
        5: lambda: rig.clock.advance(1),
    }

    rig.run(make_spec())

    saved = [own.step for told in rig.told(Saved) for own in told.saved]  # type: ignore[attr-defined]
    assert saved == [10, 50]


def test_a_drained_group_is_saved_and_then_abandoned(
    tmp_path: Path, counting: CountingEngine
) -> None:
    rig = Rig(tmp_path, counting)
    counting.at_block = {3: rig.inbox.draining.set}

    rig.run(*lanes(2))

    saved, last = rig.answers()[-2:]
    assert isinstance(saved, Saved)
    assert [own.step for own in saved.saved] == [30, 30]
    assert last == Abandoned(group=1)


def test_a_group_goes_on_from_what_is_saved(tmp_path: Path, counting: CountingEngine) -> None:
    rig = Rig(tmp_path, counting)
    spec = make_spec()
    digest = rig.states.write(f"{key_of(spec)} 30".encode())

    rig.run(spec, saved={0: digest})

    assert rig.told(Resumed) == [Resumed(group=1, steps=30)]
    assert counting.blocks == [(1, 40), (1, 50)]


def test_what_was_cancelled_before_the_group_began_is_not_read(
    tmp_path: Path, counting: CountingEngine
) -> None:
    rig = Rig(tmp_path, counting)
    kept, gone = lanes(2)
    saved = {
        number: rig.states.write(f"{key_of(spec)} {steps}".encode())
        for number, (spec, steps) in enumerate(((kept, 30), (gone, 20)))
    }
    rig.cancel(gone)

    rig.run(kept, gone, saved=saved)

    assert rig.told(Resumed) == [Resumed(group=1, steps=30)]


@pytest.mark.parametrize("damage", ["gone", "damaged", "not a state"])
def test_a_state_that_cannot_be_used_costs_a_start_from_the_beginning(
    tmp_path: Path, counting: CountingEngine, damage: str
) -> None:
    rig = Rig(tmp_path, counting)
    digest = rig.states.write(b"no key and no step")
    (path,) = [path for path in (tmp_path / "saved").rglob("*") if path.is_file()]
    if damage == "gone":
        path.unlink()
    elif damage == "damaged":
        path.chmod(0o640)
        path.write_bytes(b"other bytes")

    rig.run(make_spec(), saved={0: digest})

    assert rig.told(Resumed) == []
    assert len(counting.blocks) == STEPS // BLOCK
    assert isinstance(rig.answers()[-1], Done)
    assert path.exists() == (damage == "not a state")  # so that it can be written again


def test_a_save_that_fails_does_not_end_the_group(tmp_path: Path, counting: CountingEngine) -> None:
    rig = Rig(tmp_path, counting, seconds=0)

    def full() -> None:
        raise ResourceError("disk", expected="space", found="none", remedy="Free some.")

    counting.on_save = full

    rig.run(make_spec())

    assert rig.told(Saved) == []
    assert isinstance(rig.answers()[-1], Done)


def test_cancelled_lanes_leave_within_a_block_and_the_others_do_not_start_again(
    tmp_path: Path, counting: CountingEngine
) -> None:
    rig = Rig(tmp_path, counting)
    kept, gone = lanes(2)
    counting.at_block = {3: lambda: rig.cancel(gone)}

    rig.run(kept, gone)

    assert counting.blocks == [(2, 10), (2, 20), (2, 30), (1, 40), (1, 50)]
    done = rig.answers()[-1]
    assert isinstance(done, Done)
    assert [result.key for result in done.results] == [key_of(kept)]


def fades(run: RecordedRun) -> list[Advance]:
    return [
        Advance(
            log=run.digest, stage=0, start=Recorded(boundary=0),
            intervention=Intervention(kind="fade", stage="stage0", alpha=alpha),
        )
        for alpha in (0.25, 0.5, 0.75)
    ]  # fmt: skip


def states_of(rig: Rig) -> dict[str, bytes]:
    done = rig.answers()[-1]
    assert isinstance(done, Done)
    blobs = FolderBlobs(rig.root)
    return {result.key: bytes(blobs.read(Digest(result.digest))) for result in done.results}


@final
class Tripwire:
    """The library, with something done at one of its blocks; ``told`` is all its progress."""

    def __init__(self, root: Path, *, at: int, trip: Callable[[], None] = lambda: None) -> None:
        self._worker = Worker(FolderBlobs(root), device="cpu")
        self._at, self._trip = at, trip
        self.told: list[tuple[int, int]] = []
        self.save, self.resume = self._worker.save, self._worker.resume

    def execute(
        self,
        specs: Sequence[ActionSpec],
        *,
        results: Mapping[ActionKey, Digest],
        on_block: Callable[[int, int], None],
    ) -> Sequence[Result]:
        def tripped(done: int, total: int) -> None:
            self.told.append((done, total))
            if len(self.told) == self._at:
                self._trip()
            on_block(done, total)

        found = self._worker.execute(specs, results=results, on_block=tripped)
        return [Result(digest=own.digest) for own in found]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Advance]]:
    """Return a store with a log of 63 steps, and three advances through them."""
    folder = tmp_path_factory.mktemp("log")
    run = make_stage_log(stages=1, steps=63, optimizer="adam", folder=folder)
    root = folder / "blobs"
    FolderBlobs(root).write((folder / "stagelog.json").read_bytes())
    return root, fades(run)


@pytest.fixture(scope="module")
def truth(recorded: tuple[Path, list[Advance]]) -> dict[str, bytes]:
    root, specs = recorded
    rig = Rig(root, Tripwire(root, at=0))
    rig.run(*specs)
    return states_of(rig)


def test_trajectories_go_on_from_memory_when_another_leaves(
    recorded: tuple[Path, list[Advance]], truth: dict[str, bytes]
) -> None:
    root, specs = recorded
    engine = Tripwire(root, at=2, trip=lambda: rig.cancel(specs[0]))
    rig = Rig(root, engine)

    rig.run(*specs)

    assert engine.told == [(96, 189), (189, 189), (126, 126)]  # nothing is computed again
    require_close(states_of(rig), {key_of(spec): truth[key_of(spec)] for spec in specs[1:]})


def test_trajectories_go_on_in_another_worker_after_a_drain(
    recorded: tuple[Path, list[Advance]], truth: dict[str, bytes]
) -> None:
    root, specs = recorded
    inbox = Inbox()
    drained = Rig(root, Tripwire(root, at=1, trip=inbox.draining.set), inbox=inbox)
    drained.run(*specs)
    (saved,) = drained.told(Saved)
    assert isinstance(saved, Saved)
    engine = Tripwire(root, at=0)
    rig = Rig(root, engine)

    rig.run(*specs, saved={0: saved.saved[0].digest, 2: saved.saved[2].digest})

    assert [own.step for own in saved.saved] == [32, 32, 32]
    assert rig.told(Resumed) == [Resumed(group=1, steps=64)]
    assert engine.told == [(64, 189), (96, 189), (189, 189)]  # the second lane catches up
    require_close(states_of(rig), truth)


def require_close(found: Mapping[str, bytes], truth: Mapping[str, bytes]) -> None:
    assert set(found) == set(truth)
    for key, data in found.items():
        own, other = read_tensors(data, where="found"), read_tensors(truth[key], where="truth")
        assert set(own) == set(other)
        for name, tensor in own.items():
            assert tensor.numpy() == pytest.approx(other[name].numpy(), rel=1e-12, abs=1e-15)
