"""A worker saves, goes on from what is saved, and lets lanes leave a running group."""

from collections.abc import Callable, Mapping, Sequence
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
from service.executors.wire import (
    Abandoned,
    Done,
    Resumed,
    Saved,
)
from service.saving import COST_FACTOR
from service.worker import Inbox
from tests.support.builders import RecordedRun, make_stage_log
from tests.support.fake_engine import make_spec
from tests.support.worker_rig import BLOCK, FENCE, STEPS, CountingEngine, Result, WorkerRig, lanes


@pytest.fixture
def counting(tmp_path: Path) -> CountingEngine:
    return CountingEngine(FolderBlobs(tmp_path))


def test_states_are_saved_after_so_many_seconds_of_computing(
    tmp_path: Path, counting: CountingEngine
) -> None:
    rig = WorkerRig(tmp_path, counting)
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
    rig = WorkerRig(tmp_path, counting, seconds=1)
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
    rig = WorkerRig(tmp_path, counting)
    counting.at_block = {3: rig.inbox.draining.set}

    rig.run(*lanes(2))

    saved, last = rig.answers()[-2:]
    assert isinstance(saved, Saved)
    assert [own.step for own in saved.saved] == [30, 30]
    assert last == Abandoned(group=1)


def test_a_group_goes_on_from_what_is_saved(tmp_path: Path, counting: CountingEngine) -> None:
    rig = WorkerRig(tmp_path, counting)
    spec = make_spec()
    digest = rig.states.write(f"{key_of(spec)} 30".encode())

    rig.run(spec, saved={0: digest})

    assert rig.told(Resumed) == [Resumed(group=1, steps=30)]
    assert counting.blocks == [(1, 40), (1, 50)]


def test_what_was_cancelled_before_the_group_began_is_not_read(
    tmp_path: Path, counting: CountingEngine
) -> None:
    rig = WorkerRig(tmp_path, counting)
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
    rig = WorkerRig(tmp_path, counting)
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
    rig = WorkerRig(tmp_path, counting, seconds=0)

    def full() -> None:
        raise ResourceError("disk", expected="space", found="none", remedy="Free some.")

    counting.on_save = full

    rig.run(make_spec())

    assert rig.told(Saved) == []
    assert isinstance(rig.answers()[-1], Done)


def test_cancelled_lanes_leave_within_a_block_and_the_others_do_not_start_again(
    tmp_path: Path, counting: CountingEngine
) -> None:
    rig = WorkerRig(tmp_path, counting)
    kept, gone = lanes(2)
    counting.at_block = {3: lambda: rig.cancel(gone)}

    rig.run(kept, gone)

    assert counting.blocks == [(2, 10), (2, 20), (2, 30), (1, 40), (1, 50)]
    done = rig.answers()[-1]
    assert isinstance(done, Done)
    assert [result.key for result in done.results] == [key_of(kept)]


def test_a_group_that_nobody_wants_any_more_tells_what_it_took_and_leaves_nothing(
    tmp_path: Path, counting: CountingEngine
) -> None:
    rig = WorkerRig(tmp_path, counting)
    first, second = lanes(2)
    counting.at_block = {
        2: lambda: rig.clock.advance(4.0),
        4: lambda: (rig.clock.advance(3.0), rig.cancel(first, second))[0],
    }

    rig.run(first, second)

    assert rig.answers()[-1] == Done(group=1, results=(), compute_seconds=7.0)
    assert counting.forgotten == 1


def fades(run: RecordedRun) -> list[Advance]:
    return [
        Advance(
            log=run.digest, stage=0, start=Recorded(boundary=0),
            intervention=Intervention(kind="fade", stage="stage0", alpha=alpha),
        )
        for alpha in (0.25, 0.5, 0.75)
    ]  # fmt: skip


def states_of(rig: WorkerRig) -> dict[str, bytes]:
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
        self.forget = self._worker.forget

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
    rig = WorkerRig(root, Tripwire(root, at=0))
    rig.run(*specs)
    return states_of(rig)


def test_trajectories_go_on_from_memory_when_another_leaves(
    recorded: tuple[Path, list[Advance]], truth: dict[str, bytes]
) -> None:
    root, specs = recorded
    engine = Tripwire(root, at=2, trip=lambda: rig.cancel(specs[0]))
    rig = WorkerRig(root, engine)

    rig.run(*specs)

    assert engine.told == [(96, 189), (189, 189), (126, 126)]  # nothing is computed again
    require_close(states_of(rig), {key_of(spec): truth[key_of(spec)] for spec in specs[1:]})


def test_trajectories_that_nobody_wants_any_more_leave_the_device(
    recorded: tuple[Path, list[Advance]],
) -> None:
    root, specs = recorded
    engine = Tripwire(root, at=2, trip=lambda: rig.cancel(*specs))
    rig = WorkerRig(root, engine)

    rig.run(*specs)

    assert len(engine.told) == 2
    assert list(engine.save()) == []


def test_trajectories_go_on_in_another_worker_after_a_drain(
    recorded: tuple[Path, list[Advance]], truth: dict[str, bytes]
) -> None:
    root, specs = recorded
    inbox = Inbox()
    drained = WorkerRig(root, Tripwire(root, at=1, trip=inbox.draining.set), inbox=inbox)
    drained.run(*specs)
    (saved,) = drained.told(Saved)
    assert isinstance(saved, Saved)
    engine = Tripwire(root, at=0)
    rig = WorkerRig(root, engine)

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
