"""``change``: a stage's schedule with other hyperparameters, in the form that step maps read."""

from collections.abc import Mapping

import numpy as np

from auditor.dynamics.hyperparameters import COLUMNS, Hyperparameters, stage_hyperparameters
from auditor.dynamics.interventions import window
from auditor.dynamics.run import Run
from auditor.errors import DomainError, InputError
from auditor.plan.request import Change, Intervention
from auditor.stagelog.log import Stage
from auditor.stagelog.optimizer_columns import BELOW_ONE
from auditor.stagelog.schedule import Schedule


def intervened_hyperparameters(
    run: Run, stage_index: int, *, intervention: Intervention | None
) -> Hyperparameters:
    """Return the numbers of every step of a stage under an intervention.

    Only ``change`` has others than the recorded ones: in its window every group's hyperparameter
    is the recorded one times ``scale``, or ``value``. Momentum in a stage that had none starts
    from an empty buffer, as ``torch`` starts it.

    Raises:
        InputError: If the stage's optimizer has no such hyperparameter.
        DomainError: If a changed number is one that the optimizer refuses.
    """
    if intervention is None or intervention.kind != "change":
        return run.hyperparameters(stage_index)
    stage = run.log.stages[stage_index]
    changes = intervention.hyperparameters or {}
    return run.keep(
        ("hyperparameters", stage_index, intervention.model_dump_json()),
        lambda: stage_hyperparameters(
            stage,
            changed_schedule(
                run.schedule(stage_index),
                stage,
                changes=changes,
                steps=window(stage, intervention),
            ),
            like=run.boundary(stage_index).theta,
            where=f"stages[{stage_index}]",
        ),
    )


def changed_schedule(
    schedule: Schedule, stage: Stage, *, changes: Mapping[str, Change], steps: tuple[int, int]
) -> Schedule:
    """Return a schedule with changed hyperparameters in steps [first, end) of the stage.

    Args:
        schedule: As recorded.
        stage: Whose optimizer says which hyperparameters there are.
        changes: By name.
        steps: First step and one past the last, counted from the stage's first.

    Raises:
        InputError: If the stage's optimizer has no such hyperparameter.
        DomainError: If a changed number is one that the optimizer refuses.
    """
    known = COLUMNS.get(stage.optimizer.kind, ())
    columns = dict(schedule.columns)
    for name, change in changes.items():
        if name not in known:
            raise InputError(
                f"intervention.hyperparameters.{name}",
                expected=f"a hyperparameter of {stage.optimizer.kind}: " + ", ".join(known),
                found=name,
                remedy="Correct the name; `stageaudit log inspect` lists what was recorded.",
            )
        first, end = steps
        values = columns[name].copy()  # [steps, G]
        own = values[first:end]
        with np.errstate(over="ignore"):  # refused right below
            values[first:end] = own * change.scale if change.value is None else change.value
        _require_accepted(values[first:end], name=name, stage=stage)
        columns[name] = values
    return Schedule(first_step=schedule.first_step, columns=columns)


def _require_accepted(values: np.ndarray, *, name: str, stage: Stage) -> None:
    limit = 1.0 if name in BELOW_ONE else np.inf
    wrong = values[~((values >= 0) & (values < limit))]
    if wrong.size:
        raise DomainError(
            f"intervention.hyperparameters.{name}",
            expected="numbers from 0 to below 1" if limit == 1 else "finite numbers from 0",
            found=f"{wrong[0]:g} in stage {stage.name!r}",
            remedy="Choose another scale or value; torch refuses this one.",
        )
