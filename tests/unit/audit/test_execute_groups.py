"""A worker's groups of trainings of different logs, and the logs that it keeps loaded."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from auditor.audit.execute import ActionResult, Worker
from auditor.audit.failures import TENSOR
from auditor.audit.loaded_runs import LoadedRuns, loaded_bytes
from auditor.dynamics.run import Run
from auditor.model.tensors import read_tensors
from auditor.plan.actions import ActionKey, ActionSpec, Advance, Computed, Recorded, key_of
from auditor.plan.groups import GroupKeys
from auditor.plan.request import Change, Intervention
from auditor.report.execution import GroupExecution
from auditor.stagelog.digest import Digest, canonical_bytes
from tests.support.cases import quiet
from tests.support.families import Recorded as RecordedFamily
from tests.support.families import record
from tests.support.family_models import VISION
from tests.support.memory_blobs import MemoryBlobs

SLOWER = Intervention(kind="change", stage="first", hyperparameters={"lr": Change(scale=0.5)})
DIVERGING = Intervention(kind="change", stage="first", hyperparameters={"lr": Change(value=1e38)})


class Stopped(Exception):  # noqa: N818 - a signal, not an error
    """Raised at a block boundary."""


@pytest.fixture(scope="module")
def logs() -> tuple[MemoryBlobs, list[RecordedFamily]]:
    """Return a store of two logs of one architecture that differ in rate."""
    blobs, family = MemoryBlobs(), VISION["mlp"]
    found = [record(family), record(replace(family, rate=0.5 * family.rate))]
    for own in found:
        blobs.stored |= own.blobs.stored
        blobs.write(canonical_bytes(own.log))
    return blobs, found


def advances(logs: list[RecordedFamily], *interventions: Intervention | None) -> list[Advance]:
    """Return an advance through the first stage of each log for each intervention."""
    return [
        Advance(log=own.digest, stage=0, start=Recorded(boundary=0), intervention=intervention)
        for intervention in interventions
        for own in logs
    ]


def executed(
    blobs: MemoryBlobs, specs: list[ActionSpec], results: dict[ActionKey, Digest] | None = None
) -> list[ActionResult]:
    return Worker(blobs, device="cpu").execute(specs, results=results or {}, on_block=quiet)


def tensors_of(blobs: MemoryBlobs, result: ActionResult) -> dict[str, Tensor]:
    return read_tensors(blobs.read(result.digest), where="result")


def test_a_group_of_two_logs_has_the_results_of_each_alone(
    logs: tuple[MemoryBlobs, list[RecordedFamily]],
) -> None:
    blobs, found = logs
    specs = advances(found, None, SLOWER)
    by_digest = {own.digest: own.log for own in found}

    grouped = executed(blobs, [*specs])

    assert len({GroupKeys(lambda log: by_digest[Digest(log)])(spec) for spec in specs}) == 1
    for spec, result in zip(specs, grouped, strict=True):
        (alone,) = executed(blobs, [spec])
        assert result.gradient_examples == alone.gradient_examples > 0
        one, other = tensors_of(blobs, result), tensors_of(blobs, alone)
        assert set(one) == set(other)
        for name, tensor in one.items():
            torch.testing.assert_close(tensor, other[name], rtol=1e-5, atol=1e-6)
    ends = [tensors_of(blobs, result)["parameters/0.weight"] for result in grouped]
    assert not torch.allclose(ends[0], ends[1], atol=1e-3)


def record_of(blobs: MemoryBlobs, result: ActionResult) -> GroupExecution:
    assert result.execution is not None
    return GroupExecution.model_validate_json(bytes(blobs.read(result.execution)))


def test_a_group_leaves_a_record_of_its_lanes(
    logs: tuple[MemoryBlobs, list[RecordedFamily]],
) -> None:
    blobs, found = logs
    specs = advances(found, None, SLOWER)

    results = executed(blobs, [*specs])

    (ran,) = {record_of(blobs, result) for result in results}
    assert ran.keys == tuple(key_of(spec) for spec in specs)
    assert ran.results == tuple(result.digest for result in results)
    assert ran.in_one_go
    assert (ran.environment.device, ran.environment.threads) == ("cpu", torch.get_num_threads())


def test_a_group_that_went_on_says_so(logs: tuple[MemoryBlobs, list[RecordedFamily]]) -> None:
    blobs, found = logs
    specs: list[ActionSpec] = [*advances(found, None)]
    worker = Worker(blobs, device="cpu")

    def stop(done: int, _total: int) -> None:
        if done:
            raise Stopped

    with pytest.raises(Stopped):
        worker.execute(specs, results={}, on_block=stop)
    resumed = worker.execute(specs, results={}, on_block=quiet)
    afresh = worker.execute(specs, results={}, on_block=quiet)

    assert not record_of(blobs, resumed[0]).in_one_go
    assert record_of(blobs, afresh[0]).in_one_go


def test_lanes_start_from_results_of_their_own_log(
    logs: tuple[MemoryBlobs, list[RecordedFamily]],
) -> None:
    blobs, found = logs
    first = advances(found, SLOWER)
    results = {
        key_of(spec): result.digest
        for spec, result in zip(first, executed(blobs, [*first]), strict=True)
    }
    second: list[ActionSpec] = [
        Advance(log=spec.log, stage=1, start=Computed(key=key_of(spec))) for spec in first
    ]

    grouped = executed(blobs, second, results)

    for spec, result in zip(second, grouped, strict=True):
        (alone,) = executed(blobs, [spec], results)
        other = tensors_of(blobs, alone)
        for name, tensor in tensors_of(blobs, result).items():
            torch.testing.assert_close(tensor, other[name], rtol=1e-5, atol=1e-6)


def test_a_log_that_diverges_leaves_the_others_alone(
    logs: tuple[MemoryBlobs, list[RecordedFamily]],
) -> None:
    blobs, found = logs
    (calm,), (_, wild) = advances(found[:1], None), advances(found, DIVERGING)

    results = executed(blobs, [calm, wild])

    assert [TENSOR in tensors_of(blobs, result) for result in results] == [False, True]


def test_logs_are_dropped_when_they_hold_too_much(
    logs: tuple[MemoryBlobs, list[RecordedFamily]],
) -> None:
    blobs, found = logs
    one, other = (own.digest for own in found)
    size = loaded_bytes(found[0].log)
    assert size == loaded_bytes(found[1].log) > 0

    def kept(capacity: int) -> bool:
        runs = LoadedRuns(blobs, device="cpu", capacity_bytes=capacity)
        first: Run = runs(one)
        runs(other)
        return runs(one) is first

    assert kept(2 * size)
    assert not kept(2 * size - 1)
