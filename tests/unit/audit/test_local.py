"""Local groups: as many lanes as fit by prediction, halved when memory runs out after all."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import final

import pytest

from auditor.audit.execute import ActionResult, OnBlock, Worker
from auditor.audit.local import GroupLimits, activations_of, execute_actions
from auditor.audit.planning import plan_round
from auditor.errors import ResourceError
from auditor.plan.actions import ActionKey, ActionSpec
from auditor.plan.footprint import footprint
from auditor.plan.room import FIRST_FACTOR
from auditor.stagelog.digest import Digest, canonical_bytes
from tests.support.builders import RecordedRun, make_stage_log
from tests.support.job_service import make_request
from tests.support.memory_index import MemoryIndex


@pytest.fixture(scope="module")
def run() -> RecordedRun:
    return make_stage_log(stages=4)


@final
class Device:
    """The library on a device that holds so many lanes, and the groups that it was given."""

    def __init__(self, run: RecordedRun, *, holds: int = 64) -> None:
        self.groups: list[list[ActionSpec]] = []
        self._worker, self._holds = Worker(run.blobs, device="cpu"), holds

    def execute(
        self,
        specs: Sequence[ActionSpec],
        *,
        results: Mapping[ActionKey, Digest],
        on_block: OnBlock,
    ) -> Sequence[ActionResult]:
        self.groups.append(list(specs))
        if len(specs) > self._holds:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return self._worker.execute(specs, results=results, on_block=on_block)

    def largest(self) -> list[ActionSpec]:
        return max(self.groups, key=len)


def execute(
    run: RecordedRun, device: Device, *, limits: GroupLimits | None = None
) -> dict[ActionKey, Digest]:
    run.blobs.write(canonical_bytes(make_request(run)))
    return execute_actions(
        plan_round(make_request(run), run.log, {}, blobs=run.blobs).actions,
        worker=device,
        blobs=run.blobs,
        index=MemoryIndex(),
        limits=limits or GroupLimits(),
        on_progress=lambda _: None,
    )


def test_a_group_that_runs_out_of_memory_is_halved(run: RecordedRun) -> None:
    roomy, narrow = Device(run), Device(run, holds=2)

    everything, same = execute(run, roomy), execute(run, narrow)

    assert set(same) == set(everything)
    assert len(roomy.largest()) > 2
    assert len(narrow.largest()) == len(roomy.largest())  # nobody knew before it ran out
    assert 2 in map(len, narrow.groups)


def test_an_action_that_runs_out_of_memory_alone_is_a_typed_error(run: RecordedRun) -> None:
    with pytest.raises(ResourceError, match="device memory"):
        execute(run, Device(run, holds=0))


def test_groups_have_no_more_lanes_than_should_fit(run: RecordedRun) -> None:
    needs = partial(footprint, log=run.log, activations=activations_of(run.log, run.blobs))
    free, bounded = Device(run), Device(run)
    execute(run, free)
    each = [needs(spec) for spec in free.largest()]
    fixed, lane = max(own.fixed for own in each), max(own.lane for own in each)

    room = fixed + 2.5 * lane
    limits = GroupLimits(memory_bytes=FIRST_FACTOR * room, footprint_of=needs)
    execute(run, bounded, limits=limits)

    kind = free.largest()[0].kind
    assert len(each) > 2
    assert max(len(group) for group in bounded.groups if group[0].kind == kind) == 2
