"""Schedules and batches of a stage against its manifest entry."""

from dataclasses import dataclass
from typing import final

import numpy as np

from auditor.errors import DomainError, StageLogError
from auditor.stagelog.batches import BatchRow, read_batches
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest
from auditor.stagelog.log import Stage, StageLog
from auditor.stagelog.optimizer_columns import COLUMNS_OF
from auditor.stagelog.schedule import OPTIONAL_COLUMNS, Schedule, read_schedule


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedSchedule:
    """A schedule that fits its stage."""

    schedule: Schedule

    def moved(self, stage: Stage) -> tuple[str, ...]:
        """Return the parameters whose optimizer state exists after every step of the stage."""
        if stage.optimizer.kind != "sgd":
            return tuple(name for group in stage.groups for name in group.parameters)
        with_momentum = (self.schedule.columns["momentum"] != 0).all(axis=0)  # [G]
        return tuple(
            name
            for group, used in zip(stage.groups, with_momentum, strict=True)
            if used
            for name in group.parameters
        )


def check_schedule_content(stage: Stage, blobs: BlobStore, *, where: str) -> CheckedSchedule | None:
    """Return the stage's schedule, checked; None when it was not recorded.

    Args:
        stage: The stage.
        blobs: Where its blobs are.
        where: Path of the schedule.

    Raises:
        StageLogError: If it does not cover the stage's steps and groups, lacks a column, or turns
            momentum on or off within the stage.
        DomainError: If a number is outside its domain.
    """
    if stage.schedule is None:
        return None
    schedule = read_schedule(blobs.read(Digest(stage.schedule)), where=where)
    found = (schedule.first_step, schedule.first_step + schedule.steps, schedule.groups)
    if found != (stage.first_step, stage.end_step, len(stage.groups)):
        raise StageLogError(
            where,
            expected=f"steps {stage.first_step} to {stage.end_step} of {len(stage.groups)} groups",
            found=f"steps {found[0]} to {found[1]} of {found[2]} groups",
            remedy="Record every step of the stage and nothing else.",
        )
    for name in COLUMNS_OF.get(stage.optimizer.kind, ()):
        if name not in schedule.columns:
            raise StageLogError(
                f"{where}.{name}",
                expected=f"a column that {stage.optimizer.kind} needs",
                found="none",
                remedy="Record every hyperparameter of the optimizer.",
            )
    if stage.loss_scale == "recorded":
        _require_scales(schedule, where=where)
    for name, values in schedule.columns.items():
        _check_domain(name, values, first_step=stage.first_step, where=where)
    if stage.optimizer.kind == "sgd":
        _check_momentum(stage, schedule, where=where)
    return CheckedSchedule(schedule=schedule)


def _require_scales(schedule: Schedule, *, where: str) -> None:
    """Refuse a stage of a gradient scaler whose scales are not all there."""
    scales = schedule.columns.get("loss_scale")
    if scales is None or np.isnan(scales).any() or (scales != scales[:, :1]).any():
        raise StageLogError(
            f"{where}.loss_scale",
            expected="a number for every step, the same for all groups",
            found="none" if scales is None else "a null, or several numbers for one step",
            remedy="Record what the scaler multiplied each step's loss by.",
        )


def check_batches_content(log: StageLog, stage: Stage, blobs: BlobStore, *, where: str) -> None:
    """Refuse batches that do not fit their stage and datasets.

    Raises:
        StageLogError: If steps differ from the stage's, a dataset is not one of the stage's, a
            position lies outside of it, or microbatches or sizes differ from what is declared.
    """
    if stage.batches is None:
        return
    batches = read_batches(blobs.read(Digest(stage.batches)), where=where)
    if (batches.first_step, batches.steps) != (stage.first_step, stage.steps):
        raise StageLogError(
            where,
            expected=f"steps {stage.first_step} to {stage.end_step}",
            found=f"steps {batches.first_step} to {batches.first_step + batches.steps}",
            remedy="Record every step of the stage and nothing else.",
        )
    largest = 0
    for step in range(stage.first_step, stage.end_step):
        rows = batches.rows(step)
        largest = max(largest, sum(len(row.indices) for row in rows))
        for row in rows:
            _check_row(log, stage, row, where=f"{where}.steps[{step}]")
        microbatches = {row.microbatch for row in rows}
        if microbatches != set(range(len(microbatches))):
            raise StageLogError(
                f"{where}.steps[{step}]",
                expected="microbatches numbered from 0 without holes",
                found=sorted(microbatches),
                remedy="Number the microbatches of each step from 0.",
            )
    if largest != stage.examples_per_step:
        raise StageLogError(
            f"{where.removesuffix('.batches')}.examples_per_step",
            expected=f"{largest}, the largest step of the batches",
            found=stage.examples_per_step,
            remedy="Correct the number.",
        )


def _check_row(log: StageLog, stage: Stage, row: BatchRow, *, where: str) -> None:
    if row.dataset not in stage.datasets:
        raise StageLogError(
            where,
            expected=f"a dataset of the stage: {', '.join(stage.datasets)}",
            found=row.dataset,
            remedy="List every dataset that the batches use.",
        )
    dataset = log.datasets[row.dataset]
    size = dataset.coverage.of or dataset.examples
    if row.indices.max() >= size:
        raise StageLogError(
            where,
            expected=f"positions below {size} in {row.dataset!r}",
            found=int(row.indices.max()),
            remedy="Record the dataset that the positions refer to.",
        )
    if row.microbatch >= stage.accumulation:
        raise StageLogError(
            where,
            expected=f"microbatches below accumulation = {stage.accumulation}",
            found=row.microbatch,
            remedy="Declare the accumulation that was used.",
        )


def _check_domain(name: str, values: np.ndarray, *, first_step: int, where: str) -> None:
    known = ~np.isnan(values) if name in OPTIONAL_COLUMNS else True
    finite = np.isfinite(values)
    match name:
        case "lr" | "weight_decay" | "momentum" | "grad_norm":
            domain, right = "a finite number >= 0", finite & (values >= 0)
        case "beta1" | "beta2":
            domain, right = "a number in [0, 1)", finite & (values >= 0) & (values < 1)
        case "eps" | "clip_norm" | "denominator" | "loss_scale":
            domain, right = "a finite number > 0", finite & (values > 0)
        case _:
            domain, right = "a finite number", finite
    wrong = known & ~right
    if wrong.any():
        step, group = (int(i) for i in np.unravel_index(int(np.argmax(wrong)), values.shape))
        raise DomainError(
            f"{where}.steps[{first_step + step}].groups[{group}].{name}",
            expected=domain,
            found=float(values[step, group]),
            remedy="Check the schedule recorded in the stage log.",
        )


def _check_momentum(stage: Stage, schedule: Schedule, *, where: str) -> None:
    """Torch leaves the buffer alone at momentum 0, so a change within a stage is a new stage."""
    momentum, dampening = schedule.columns["momentum"], schedule.columns["dampening"]
    for group in range(schedule.groups):
        used = momentum[:, group] != 0
        if used.any() and not used.all():
            step = stage.first_step + int(np.argmax(used != used[0]))
            raise StageLogError(
                f"{where}.steps[{step}].groups[{group}].momentum",
                expected="momentum that is zero in all steps of a stage, or in none",
                found=float(momentum[step - stage.first_step, group]),
                remedy="Start a new stage where momentum is turned on or off.",
            )
        if stage.optimizer.nesterov and (not used.all() or (dampening[:, group] != 0).any()):
            raise StageLogError(
                f"{where}.groups[{group}]",
                expected="momentum > 0 and dampening 0, which Nesterov's momentum needs",
                found=f"momentum {momentum[0, group]}, dampening {dampening[0, group]}",
                remedy="Record the hyperparameters that were used.",
            )
