"""Which lanes move together through which steps of a stage."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import final

import numpy as np

from auditor.dynamics.hyperparameters import Hyperparameters, StepForm
from auditor.dynamics.joined_batches import LaneBatches
from auditor.dynamics.state import TrainingState

CPU_LANE_WORK = 10**6
"""Parameters times examples of a step from which a CPU is full with one lane.

Beyond it lanes run one after the other there: a ``vmap`` gains nothing, and grouped convolutions
lose a factor of two. A rule, not a measurement, so that the same lanes always give the same bits.
"""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Consecutive steps of one size in which the same lanes move, each in one form."""

    steps: range
    moving: tuple[int, ...]
    gated: bool


def spans_of(
    batches: LaneBatches, numbers: Sequence[Hyperparameters], *, steps: range
) -> list[Span]:
    """Return the steps in spans, in order.

    Args:
        batches: Of all lanes.
        numbers: The hyperparameters of each lane.
        steps: Consecutive steps, counted from the stage's first.
    """
    forms = list({id(own): own for own in numbers}.values())

    def character(step: int) -> tuple[tuple[int, ...], bool, tuple[StepForm, ...], int]:
        alpha = batches.alpha[:, step]
        moving = tuple(np.flatnonzero(alpha).tolist())
        gated = bool((alpha[list(moving)] != 1).any())
        return moving, gated, tuple(own.forms[step] for own in forms), int(batches.sizes[step])

    spans = []
    for (moving, gated, _, _), members in groupby(steps, key=character):
        own = list(members)
        spans.append(Span(steps=range(own[0], own[-1] + 1), moving=moving, gated=gated))
    return spans


def together(
    span: Span,
    states: Sequence[TrainingState],
    *,
    batches: LaneBatches,
    numbers: Sequence[Hyperparameters],
) -> list[Span]:
    """Return the moving lanes in the groups that share a vmap.

    Lanes whose steps have another form, or whose states have other slots, cannot share one; where
    a single lane fills the device each goes alone.

    Args:
        span: Some steps.
        states: One a lane.
        batches: Of all lanes.
        numbers: The hyperparameters of each lane.
    """
    first, theta = span.steps.start, states[0].theta
    size = int(batches.sizes[first])
    alone = theta.device.type == "cpu" and theta.shape[-1] * size >= CPU_LANE_WORK
    groups: dict[object, list[int]] = {}
    for lane in span.moving:
        kind = (numbers[lane].forms[first], tuple(sorted(states[lane].slots)))
        groups.setdefault((kind, lane) if alone else kind, []).append(lane)
    alpha = batches.alpha[:, first : span.steps.stop]
    return [
        Span(steps=span.steps, moving=tuple(lanes), gated=bool((alpha[lanes] != 1).any()))
        for lanes in groups.values()
    ]
