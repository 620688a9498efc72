"""Change one recorded thing in a log the way a forger would: blobs and manifest stay in step."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from auditor.model.tensors import read_tensors, write_tensors
from auditor.stagelog.batches import BatchRow, read_batches, write_batches
from auditor.stagelog.digest import Digest, digest_of
from auditor.stagelog.log import Checkpoint, Stage, StageLog
from auditor.stagelog.schedule import Schedule, read_schedule, write_schedule
from tests.support.builders import RecordedRun

Tensors = dict[str, Tensor]


def with_log(run: RecordedRun, log: StageLog) -> RecordedRun:
    return replace(run, log=log, digest=digest_of(log))


def with_stage(run: RecordedRun, index: int, **changes: Any) -> RecordedRun:
    stages = list(run.log.stages)
    stages[index] = stages[index].model_copy(update=changes)
    return with_log(run, run.log.model_copy(update={"stages": tuple(stages)}))


def with_columns(
    run: RecordedRun, index: int, change: Callable[[dict[str, np.ndarray]], None]
) -> RecordedRun:
    """Change hyperparameters, [steps, groups] by name, of a stage."""
    stage = run.log.stages[index]
    schedule = read_schedule(run.blobs.read(Digest(str(stage.schedule))), where="schedule")
    columns = {name: values.copy() for name, values in schedule.columns.items()}
    change(columns)
    data = write_schedule(Schedule(first_step=schedule.first_step, columns=columns))
    return with_stage(run, index, schedule=run.blobs.write(data))


def with_rows(
    run: RecordedRun, index: int, change: Callable[[list[list[BatchRow]]], None]
) -> RecordedRun:
    """Change the batch rows of a stage, a list per step."""
    stage = run.log.stages[index]
    rows = rows_of(run, stage)
    change(rows)
    data = write_batches(rows, first_step=stage.first_step)
    return with_stage(run, index, batches=run.blobs.write(data))


def rows_of(run: RecordedRun, stage: Stage) -> list[list[BatchRow]]:
    batches = read_batches(run.blobs.read(Digest(str(stage.batches))), where="batches")
    return [list(batches.rows(step)) for step in range(stage.first_step, stage.end_step)]


def with_checkpoint(
    run: RecordedRun,
    index: int,
    position: int,
    change: Callable[[Tensors], None],
    *,
    part: str = "parameters",
) -> RecordedRun:
    """Change the tensors of one checkpoint of a stage; ``part`` may be ``optimizer``."""
    checkpoints = list(run.log.stages[index].checkpoints)
    checkpoints[position] = _changed(run, checkpoints[position], change, part=part)
    return with_stage(run, index, checkpoints=tuple(checkpoints))


def with_shard(
    run: RecordedRun, dataset: str, change: Callable[[Tensors], None], *, position: int = 0
) -> RecordedRun:
    """Change the columns of one shard of a dataset."""
    before = run.log.datasets[dataset]
    shards = list(before.shards)
    digest = _rewritten(run, shards[position].digest, change)
    shards[position] = shards[position].model_copy(update={"digest": digest})
    after = before.model_copy(update={"shards": tuple(shards)})
    datasets = {**run.log.datasets, dataset: after}
    return with_log(run, run.log.model_copy(update={"datasets": datasets}))


def _changed(
    run: RecordedRun, checkpoint: Checkpoint, change: Callable[[Tensors], None], *, part: str
) -> Checkpoint:
    digest: str = getattr(checkpoint, part)
    return checkpoint.model_copy(update={part: _rewritten(run, digest, change)})


def _rewritten(run: RecordedRun, digest: str, change: Callable[[Tensors], None]) -> Digest:
    tensors = read_tensors(run.blobs.read(Digest(digest)), where="blob")
    change(tensors)
    return run.blobs.write(write_tensors(tensors))
