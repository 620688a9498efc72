"""A log changed after the fact is found: by its rules, its content, or the replay."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from auditor.dynamics.consistency import check_segment
from auditor.dynamics.run import Run
from auditor.errors import AuditorError
from auditor.stagelog.batches import BatchRow, write_batches
from auditor.stagelog.content import check_content
from auditor.stagelog.digest import Digest
from auditor.stagelog.log import Stage
from auditor.stagelog.schedule import Schedule, read_schedule, write_schedule
from auditor.stagelog.validate import refuse_unsupported, validate
from tests.support.builders import RecordedRun, make_stage_log
from tests.support.forgery import (
    rows_of,
    with_checkpoint,
    with_columns,
    with_log,
    with_rows,
    with_shard,
    with_stage,
)

Forgery = Callable[[RecordedRun], RecordedRun]

CASES = {
    "momentum-float64": ("momentum", torch.float64),
    "momentum-float32": ("momentum", torch.float32),
    "adamw-float64": ("adamw", torch.float64),
}


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES.keys())
def run(request: pytest.FixtureRequest) -> RecordedRun:
    name, dtype = request.param
    return make_stage_log(stages=3, optimizer=name, dtype=dtype, transition="keep")


def findings(run: RecordedRun) -> list[str]:
    """Return what a full check says: an error's path, or the stages that are inconsistent."""
    try:
        validate(run.log)
        refuse_unsupported(run.log)
        check_content(run.log, run.blobs)
    except AuditorError as error:
        return [error.where]
    replay = Run(run.log, run.digest, run.blobs, device="cpu")
    segments = [
        check_segment(replay, index, on_block=lambda _done, _total: None)
        for index in range(len(run.log.stages))
    ]
    return [f"stage {s.stage}" for s in segments if s.verdict != "consistent"]


def one_index(run: RecordedRun) -> RecordedRun:
    def change(rows: list[list[BatchRow]]) -> None:
        indices = rows[2][0].indices.copy()
        indices[0] = next(i for i in range(48) if i not in indices)
        rows[2][0] = replace(rows[2][0], indices=indices)

    return with_rows(run, 1, change)


def one_learning_rate(run: RecordedRun) -> RecordedRun:
    def change(columns: dict[str, np.ndarray]) -> None:
        columns["lr"][3, 0] *= 1.01

    return with_columns(run, 1, change)


def one_checkpoint(run: RecordedRun) -> RecordedRun:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors["0.weight"] *= 1 + 1e-3

    return with_checkpoint(run, 1, -1, change)


def optimizer_zeroed(run: RecordedRun) -> RecordedRun:
    def change(tensors: dict[str, Tensor]) -> None:
        for tensor in tensors.values():
            tensor.zero_()

    return with_checkpoint(run, 1, -1, change, part="optimizer")


def optimizer_left_out(run: RecordedRun) -> RecordedRun:
    return with_checkpoint(run, 1, -1, lambda tensors: tensors.clear(), part="optimizer")


def one_row(run: RecordedRun) -> RecordedRun:
    used = int(rows_of(run, run.log.stages[1])[0][0].indices[0])

    def change(columns: dict[str, Tensor]) -> None:
        columns["x"][used, 0] += 0.01

    return with_shard(run, "data1", change)


def one_label(run: RecordedRun) -> RecordedRun:
    used = int(rows_of(run, run.log.stages[1])[0][0].indices[0])

    def change(columns: dict[str, Tensor]) -> None:
        columns["label"][used] = (columns["label"][used] + 1) % 3

    return with_shard(run, "data1", change)


def optimizer_kept_or_reset(run: RecordedRun) -> RecordedRun:
    stage = run.log.stages[1]
    return with_stage(run, 1, transition=stage.transition.model_copy(update={"optimizer": "reset"}))


def stages_swapped_as_they_are(run: RecordedRun) -> RecordedRun:
    first, second, third = run.log.stages
    return with_log(run, run.log.model_copy(update={"stages": (second, first, third)}))


def stages_swapped_and_renumbered(run: RecordedRun) -> RecordedRun:
    first, second, third = run.log.stages
    stages = (renumbered(run, second, first.first_step), renumbered(run, first, 6), third)
    return with_log(run, run.log.model_copy(update={"stages": stages}))


def boundary_moved(run: RecordedRun) -> RecordedRun:
    """The forger says that stage 1 began one step later, and moves that step's rows to stage 0."""
    first, second, third = run.log.stages
    pool = (first, second)
    first = with_rows_of(run, first, steps=range(7), pool=pool)
    second = with_rows_of(run, second, steps=range(7, 12), pool=pool)
    last = first.checkpoints[-1].model_copy(update={"step": 7})
    first = first.model_copy(update={
        "end_step": 7,
        "datasets": ("data0", "data1"),
        "checkpoints": (*first.checkpoints[:-1], last),
    })  # fmt: skip
    second = second.model_copy(update={
        "first_step": 7,
        "checkpoints": (
            second.checkpoints[0].model_copy(update={"step": 11}), second.checkpoints[-1],
        ),
    })  # fmt: skip
    return with_log(run, run.log.model_copy(update={"stages": (first, second, third)}))


def boundary_number_moved(run: RecordedRun) -> RecordedRun:
    return with_stage(run, 0, end_step=7)


FORGERIES: dict[str, tuple[Forgery, list[str]]] = {
    "one_index": (one_index, ["stage 1"]),
    "one_learning_rate": (one_learning_rate, ["stage 1"]),
    "one_checkpoint": (one_checkpoint, ["stage 1", "stage 2"]),
    "optimizer_zeroed": (optimizer_zeroed, ["stage 1", "stage 2"]),
    "optimizer_left_out": (optimizer_left_out, ["stages[1].checkpoints[1].optimizer"]),
    "one_row": (one_row, ["stage 1"]),
    "one_label": (one_label, ["stage 1"]),
    "optimizer_reset": (optimizer_kept_or_reset, ["stage 1"]),
    "stages_swapped": (stages_swapped_as_they_are, ["start.step"]),
    "stages_swapped_and_renumbered": (
        stages_swapped_and_renumbered,
        ["stage 0", "stage 1", "stage 2"],
    ),
    "boundary_moved": (boundary_moved, ["stage 0", "stage 1"]),
    "boundary_number_moved": (boundary_number_moved, ["stages[1].first_step"]),
}


def test_log_as_recorded_is_consistent(run: RecordedRun) -> None:
    assert findings(run) == []


@pytest.mark.parametrize(("forge", "expected"), FORGERIES.values(), ids=FORGERIES.keys())
def test_forgery_is_found(run: RecordedRun, forge: Forgery, expected: list[str]) -> None:
    forged = forge(run)

    assert forged.digest != run.digest
    assert findings(forged) == expected


def test_row_that_no_step_used_is_outside_what_a_replay_can_say(run: RecordedRun) -> None:
    """The limit of the claim, so that nobody reads more into it."""
    used = {int(i) for rows in rows_of(run, run.log.stages[1]) for r in rows for i in r.indices}
    unused = next(i for i in range(48) if i not in used)

    def change(columns: dict[str, Tensor]) -> None:
        columns["x"][unused] += 1

    assert findings(with_shard(run, "data1", change)) == []


def renumbered(run: RecordedRun, stage: Stage, first_step: int) -> Stage:
    """Return the stage as if it had begun at another step."""
    shift = first_step - stage.first_step
    changes: dict[str, Any] = {
        "first_step": first_step,
        "end_step": stage.end_step + shift,
        "schedule": run.blobs.write(
            write_schedule(replace(schedule_of(run, stage), first_step=first_step))
        ),
        "batches": run.blobs.write(write_batches(rows_of(run, stage), first_step=first_step)),
        "checkpoints": tuple(
            c.model_copy(update={"step": c.step + shift}) for c in stage.checkpoints
        ),
    }
    return stage.model_copy(update=changes)


def with_rows_of(run: RecordedRun, stage: Stage, *, steps: range, pool: tuple[Stage, ...]) -> Stage:
    """Return the stage with the schedule and batches of some global steps."""
    schedules = [schedule_of(run, s) for s in pool]
    columns = {
        name: np.concatenate([s.columns[name] for s in schedules])[steps.start : steps.stop]
        for name in schedules[0].columns
    }
    rows = [row for s in pool for row in rows_of(run, s)][steps.start : steps.stop]
    schedule = write_schedule(Schedule(first_step=steps.start, columns=columns))
    return stage.model_copy(
        update={
            "schedule": run.blobs.write(schedule),
            "batches": run.blobs.write(write_batches(rows, first_step=steps.start)),
        }
    )


def schedule_of(run: RecordedRun, stage: Stage) -> Schedule:
    return read_schedule(run.blobs.read(Digest(str(stage.schedule))), where="schedule")
