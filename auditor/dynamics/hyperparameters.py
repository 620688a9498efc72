"""A stage's schedule as tensors, and which form the arithmetic of each step has."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from auditor.dynamics.adam import AdamForm
from auditor.dynamics.sgd import SgdForm
from auditor.errors import StageLogError, UnsupportedError
from auditor.stagelog.log import Stage
from auditor.stagelog.schedule import Schedule

SGD_COLUMNS = ("lr", "momentum", "dampening", "weight_decay")
ADAM_COLUMNS = ("lr", "beta1", "beta2", "eps", "weight_decay")
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "sgd": SGD_COLUMNS,
    "adam": ADAM_COLUMNS,
    "adamw": ADAM_COLUMNS,
}
"""Order of the numbers of one group in a row of :class:`Hyperparameters`."""

GroupForm = SgdForm | AdamForm
StepForm = tuple[GroupForm, ...]
"""Which terms each group's arithmetic has; steps of one form share one traced function."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Hyperparameters:
    """The numbers of every step of a stage.

    Attributes:
        rows: [steps, groups * columns], group by group in the order of ``COLUMNS``; in the
            dtype of the parameters for SGD and float64 for Adam.
        forms: The form of each step.
        slots: Optimizer slots that the stage's arithmetic needs.
        scales: What a gradient scaler multiplied each step's loss by, [steps]; None without one.
    """

    rows: Tensor
    forms: tuple[StepForm, ...]
    slots: tuple[str, ...]
    scales: Tensor | None = None

    @property
    def step_rows(self) -> Tensor:
        """What a step map takes, [steps, H]: the numbers, and last the scale where there is one."""
        if self.scales is None:
            return self.rows
        return torch.cat([self.rows, self.scales[:, None]], dim=1)


def stage_hyperparameters(
    stage: Stage, schedule: Schedule, *, like: Tensor, where: str
) -> Hyperparameters:
    """Return a stage's schedule in the form that step maps read.

    Args:
        stage: The stage; its optimizer decides which columns count.
        schedule: As recorded.
        like: A tensor with the dtype and device of the parameters.
        where: Name of the stage in messages, such as ``stages[1]``.

    Raises:
        UnsupportedError: If the optimizer is not one whose arithmetic is built.
        StageLogError: If the schedule does not cover the stage's steps and groups.
    """
    _require_supported(stage, where=where)
    names = COLUMNS[stage.optimizer.kind]
    shape = (stage.steps, len(stage.groups))
    for name in names:
        found = schedule.columns[name].shape if name in schedule.columns else None
        if found != shape or schedule.first_step != stage.first_step:
            raise StageLogError(
                f"{where}.schedule.{name}",
                expected=f"{shape[0]} steps from {stage.first_step} and {shape[1]} groups",
                found=f"shape {found} from {schedule.first_step}",
                remedy="Record one row per step and group.",
            )
    numbers = np.stack([schedule.columns[name] for name in names], axis=-1)  # [steps, G, H]
    adam = stage.optimizer.kind != "sgd"
    rows = torch.from_numpy(numbers.reshape(stage.steps, -1)).to(
        device=like.device, dtype=torch.float64 if adam else like.dtype
    )
    scales = None
    if stage.loss_scale is not None:
        scales = torch.from_numpy(schedule.columns["loss_scale"][:, 0].copy()).to(rows)
    return Hyperparameters(
        rows=rows,
        scales=scales,
        forms=_adam_forms(stage, numbers) if adam else _sgd_forms(stage, numbers),
        slots=_slots(stage, numbers),
    )


def _require_supported(stage: Stage, *, where: str) -> None:
    optimizer = stage.optimizer
    refused = {
        f"{where}.optimizer.kind": None if optimizer.kind in COLUMNS else optimizer.kind,
        f"{where}.optimizer.amsgrad": "true" if optimizer.amsgrad else None,
        f"{where}.optimizer.maximize": "true" if optimizer.maximize else None,
    }
    for field, found in refused.items():
        if found is not None:
            raise UnsupportedError(
                field,
                expected="sgd, adam or adamw without amsgrad or maximize",
                found=found,
                remedy="Use estimators that need boundary checkpoints only, such as task_vector.",
            )


def _sgd_forms(stage: Stage, numbers: np.ndarray) -> tuple[StepForm, ...]:
    """Return forms of SGD steps; torch leaves the buffer alone in steps without momentum."""
    moving = numbers[:, :, 1] != 0  # [steps, G]
    dampening = (numbers[:, :, 2] != 0).any(axis=0)  # [G]
    decay = (numbers[:, :, 3] != 0).any(axis=0)  # [G]
    known: dict[bytes, StepForm] = {}
    forms = []
    for row in moving:
        if row.tobytes() not in known:
            known[row.tobytes()] = tuple(
                SgdForm(
                    momentum=bool(row[group]),
                    dampening=bool(dampening[group]),
                    nesterov=stage.optimizer.nesterov,
                    decay=bool(decay[group]),
                )
                for group in range(row.shape[0])
            )
        forms.append(known[row.tobytes()])
    return tuple(forms)


def _adam_forms(stage: Stage, numbers: np.ndarray) -> tuple[StepForm, ...]:
    decay = (numbers[:, :, 4] != 0).any(axis=0)  # [G]
    form = tuple(
        AdamForm(decoupled=stage.optimizer.kind == "adamw", decay=bool(used)) for used in decay
    )
    return (form,) * stage.steps


def _slots(stage: Stage, numbers: np.ndarray) -> tuple[str, ...]:
    if stage.optimizer.kind != "sgd":
        return ("count", "exp_avg", "exp_avg_sq")
    return ("initialised", "momentum_buffer") if (numbers[:, :, 1] != 0).any() else ()
