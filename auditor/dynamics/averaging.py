"""A moving average of the parameters, kept beside them and released at the stage's end."""

from dataclasses import replace

import torch
from torch import Tensor

from auditor.dynamics.state import AVERAGE, AVERAGED, TrainingState
from auditor.stagelog.log import Stage


def averaged(slots: dict[str, Tensor], theta: Tensor, *, decay: float) -> dict[str, Tensor]:
    r"""Return a state's slots after the update of the average that follows a step.

    .. math:: a' = d\, i\, a + (1 - d\, i)\, \theta', \qquad i' = 1

    The number i in [0, 1] says whether the average exists: where it starts with the first step's
    result, that one is copied, as ``torch.optim.swa_utils.AveragedModel`` does.

    Args:
        slots: Before; [P] and [n].
        theta: After the step, [P].
        decay: d.
    """
    kept = decay * slots[AVERAGED][..., :1]
    return {
        **slots,
        AVERAGE: torch.lerp(slots[AVERAGE], theta, (1 - kept).expand_as(theta)),
        AVERAGED: torch.ones_like(slots[AVERAGED]),
    }


def started(state: TrainingState, stage: Stage, *, tensors: int) -> TrainingState:
    """Return the state at a stage's start with its average, if the stage keeps one.

    Args:
        state: After the transition, [..., P].
        stage: The stage.
        tensors: n, how many tensors theta has.
    """
    slots = {name: v for name, v in state.slots.items() if name not in {AVERAGE, AVERAGED}}
    if stage.ema_decay is None:
        return state if len(slots) == len(state.slots) else replace(state, slots=slots)
    flag = 0.0 if stage.ema_from == "first_step" else 1.0
    lead = state.theta.shape[:-1]
    slots[AVERAGE] = state.theta.clone()
    slots[AVERAGED] = state.theta.new_full((*lead, tensors), flag)
    return replace(state, slots=slots)


def released(state: TrainingState, stage: Stage) -> TrainingState:
    """Return the state at a stage's end: its parameters are the average, if it kept one."""
    if stage.ema_decay is None:
        return state
    return replace(state, theta=state.slots[AVERAGE].clone())
