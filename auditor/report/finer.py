"""Parts of a report beside single effects: joint effects, Shapley values, timelines."""

from typing import Final, Literal

from auditor.plan.curvature import CurvatureName
from auditor.stagelog.record import Figure, Name, Record

ALLOCATION_LABEL: Final = "allocation convention, not a causal finding"
TIMELINE_LABEL: Final = "effect per window, first order (AA-Score); not a replay"


class JointEffect(Record):
    """A joint effect beside the sum of the single effects of its parts."""

    query: Name
    intervention: Name
    stages: tuple[Name, ...]
    value: Figure
    single_sum: Figure
    text: str


class AllocatedValue(Record):
    """One stage's Shapley value; an interval where the estimator has replicas."""

    stage: Name
    value: Figure
    low: Figure | None = None
    high: Figure | None = None


class Allocation(Record):
    """Shapley values of one query: they sum to ``total``.

    ``total`` is gamma of the final model minus gamma with every player skipped and all transitions
    applied.
    """

    label: Literal["allocation convention, not a causal finding"] = ALLOCATION_LABEL
    query: Name
    unit: str
    context: tuple[Name, ...]
    values: tuple[AllocatedValue, ...]
    total: Figure
    confidence: float | None = None


class TimelineWindow(Record):
    """Steps ``[first_step, end_step)`` of one stage: their effect, and their mean learning rate."""

    stage: Name
    first_step: int
    end_step: int
    value: Figure
    learning_rate: Figure


class StageSum(Record):
    """The effect of a stage's steps together, to first order."""

    stage: Name
    value: Figure


class Timeline(Record):
    """The first-order effects of windows of steps on one query."""

    label: Literal["effect per window, first order (AA-Score); not a replay"] = TIMELINE_LABEL
    query: Name
    unit: str
    curvature: CurvatureName
    windows: tuple[TimelineWindow, ...]
    stages: tuple[StageSum, ...]
