"""Logs recorded from plain torch loops: replay reproduces them, and finds what was changed."""

from collections.abc import Callable
from functools import cache
from typing import Literal

import numpy as np
import pytest
import torch

from auditor.dynamics.consistency import check_segment
from auditor.dynamics.evaluate import query_values_at
from auditor.dynamics.run import Run
from auditor.dynamics.trajectory import Lane, advance
from auditor.effects import Query
from auditor.model.tensors import read_tensors, write_tensors
from auditor.stagelog.batches import BatchRow, read_batches, write_batches
from auditor.stagelog.digest import Digest
from auditor.stagelog.log import StageLog
from auditor.stagelog.schedule import Schedule, read_schedule, write_schedule
from tests.support.builders import OptimizerName, RecordedRun, make_stage_log
from tests.support.cases import quiet
from tests.support.memory_blobs import MemoryBlobs

OPTIMIZERS: tuple[OptimizerName, ...] = ("sgd", "momentum", "nesterov", "adam", "adamw")
TRANSITIONS = ("reset", "keep")


@cache
def recorded(
    optimizer: OptimizerName, transition: Literal["reset", "keep"], dtype: torch.dtype
) -> RecordedRun:
    return make_stage_log(optimizer=optimizer, transition=transition, dtype=dtype, cadence_steps=3)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("transition", TRANSITIONS)
def test_replay_of_every_stage_reaches_recorded_boundary(
    optimizer: OptimizerName, transition: Literal["reset", "keep"]
) -> None:
    log = recorded(optimizer, transition, torch.float64)
    run = Run(log.log, log.digest, log.blobs)

    ends = [
        advance(run, index, [run.boundary(index)], lanes=[Lane()], on_block=quiet).states[0]
        for index in range(3)
    ]

    for index, end in enumerate(ends):
        torch.testing.assert_close(end.theta, run.boundary(index + 1).theta, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_honest_log_is_consistent(optimizer: OptimizerName, dtype: torch.dtype) -> None:
    log = recorded(optimizer, "keep", dtype)
    run = Run(log.log, log.digest, log.blobs)

    findings = [check_segment(run, index, on_block=quiet) for index in range(3)]

    assert [finding.verdict for finding in findings] == ["consistent"] * 3
    assert all(finding.checkpoints >= 2 for finding in findings)


def test_query_values_are_those_of_the_trained_network() -> None:
    log = recorded("adamw", "keep", torch.float64)
    run = Run(log.log, log.digest, log.blobs)
    query = Query(name="loss", kind="loss", better="lower", data=log.evaluation)

    values, ids = query_values_at(run, [run.boundary(3)], query)

    columns = run.evaluation_set(log.evaluation).columns
    with torch.no_grad():
        logits = log.model(columns["x"])
    truth = torch.nn.functional.cross_entropy(logits, columns["label"], reduction="none")
    torch.testing.assert_close(values[0], truth)
    assert ids.tolist() == list(range(24))


def with_stage(log: StageLog, **changes: object) -> StageLog:
    """Return the log with other fields in its middle stage."""
    stage = log.stages[1].model_copy(update=changes)
    return log.model_copy(update={"stages": (log.stages[0], stage, log.stages[2])})


def one_index_changed(log: StageLog, blobs: MemoryBlobs) -> StageLog:
    stage = log.stages[1]
    batches = read_batches(blobs.read(Digest(str(stage.batches))), where="")
    rows = [batches.rows(step) for step in range(stage.first_step, stage.end_step)]
    indices = rows[2][0].indices.copy()
    indices[0] = (set(range(48)) - set(indices.tolist())).pop()
    rows[2] = (BatchRow(dataset=rows[2][0].dataset, indices=indices),)
    return with_stage(log, batches=blobs.write(write_batches(rows, first_step=stage.first_step)))


def one_rate_changed(log: StageLog, blobs: MemoryBlobs) -> StageLog:
    stage = log.stages[1]
    schedule = read_schedule(blobs.read(Digest(str(stage.schedule))), where="")
    columns = {name: np.array(values) for name, values in schedule.columns.items()}
    columns["lr"][3] *= 1.01
    changed = Schedule(first_step=stage.first_step, columns=columns)
    return with_stage(log, schedule=blobs.write(write_schedule(changed)))


def checkpoint_perturbed(log: StageLog, blobs: MemoryBlobs) -> StageLog:
    last = log.stages[1].checkpoints[-1]
    tensors = read_tensors(blobs.read(Digest(last.parameters)), where="")
    changed = {name: tensor * 1.001 for name, tensor in tensors.items()}
    checkpoint = last.model_copy(update={"parameters": blobs.write(write_tensors(changed))})
    return with_stage(log, checkpoints=(*log.stages[1].checkpoints[:-1], checkpoint))


def optimizer_zeroed(log: StageLog, blobs: MemoryBlobs) -> StageLog:
    last = log.stages[1].checkpoints[-1]
    tensors = read_tensors(blobs.read(Digest(str(last.optimizer))), where="")
    changed = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    checkpoint = last.model_copy(update={"optimizer": blobs.write(write_tensors(changed))})
    return with_stage(log, checkpoints=(*log.stages[1].checkpoints[:-1], checkpoint))


def optimizer_emptied(log: StageLog, blobs: MemoryBlobs) -> StageLog:
    last = log.stages[1].checkpoints[-1]
    checkpoint = last.model_copy(update={"optimizer": blobs.write(write_tensors({}))})
    return with_stage(log, checkpoints=(*log.stages[1].checkpoints[:-1], checkpoint))


def dataset_row_altered(log: StageLog, blobs: MemoryBlobs) -> StageLog:
    dataset = log.datasets["data1"]
    used = read_batches(blobs.read(Digest(str(log.stages[1].batches))), where="").rows(6)
    tensors = read_tensors(blobs.read(Digest(dataset.shards[0].digest)), where="")
    tensors["x"][int(used[0].indices[0])] *= -1
    shard = dataset.shards[0].model_copy(update={"digest": blobs.write(write_tensors(tensors))})
    changed = dataset.model_copy(update={"shards": (shard, *dataset.shards[1:])})
    return log.model_copy(update={"datasets": {**log.datasets, "data1": changed}})


TAMPERINGS = [
    one_index_changed, one_rate_changed, checkpoint_perturbed, optimizer_zeroed,
    optimizer_emptied, dataset_row_altered,
]  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("tamper", TAMPERINGS, ids=lambda f: f.__name__)
def test_tampering_is_inconsistent(
    tamper: Callable[[StageLog, MemoryBlobs], StageLog], dtype: torch.dtype
) -> None:
    log = recorded("momentum", "reset", dtype)
    blobs = MemoryBlobs()
    for digest in log.log.blobs():
        blobs.write(log.blobs.read(Digest(digest)))

    changed = tamper(log.log, blobs)

    finding = check_segment(Run(changed, log.digest, blobs), 1, on_block=quiet)
    assert finding.verdict == "inconsistent"
    assert finding.deviation > finding.tolerance
