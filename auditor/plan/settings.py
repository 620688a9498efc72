"""Estimator settings: the only scientific defaults of the project."""

from typing import Annotated, Literal

from pydantic import Field

from auditor.plan.curvature import CurvatureName
from auditor.stagelog.record import Record

DEFAULT_REPLICAS = 8
DEFAULT_TOLERANCE = 0.05  # in the unit of each query
CHECK_SHARE = 0.1
"""Part of the budget, or of retraining everything, that ``auto`` spends on checking itself."""
AUTO_FRACTIONS = (1 / 16, 1 / 8, 1 / 4)
"""Resolutions that ``auto`` tries, each with half of itself, before it retrains exactly."""
DEFAULT_FRACTION = 0.5
DEFAULT_CONFIDENCE = 0.9
DEFAULT_CURVATURE_EXAMPLES = 512
DEFAULT_BINS = 15
"""Bins of an expected calibration error (Guo et al. 2017)."""
DEFAULT_MEASURE: Literal["accuracy", "loss"] = "accuracy"
"""What the worst group is the worst in."""
DEFAULT_EXTREMES = 10
"""Examples raised and lowered most that a report names where per-example values are asked for."""
BASELINES = ("checkpoint_delta", "task_vector")
NOISE_ORDERS = 6  # batch orders, or reruns, over which sd_order and sd_rerun are taken
NOISE_FRACTION = 0.5  # of each step's examples, beside estimators that do not replay
NOISE_REPLICAS = 4  # in the recorded order: what sub-samples alone add to the spread over orders
FADE_LEVELS = (0.8, 0.6, 0.4, 0.2, 0.0)
"""Levels that a search for the gentlest sufficient fade begins with."""
FADE_RESOLUTION = 0.02
"""Width of an interval of levels below which that search does not look closer."""
BISECT_SHARE = 0.5  # of the gap between two releases that the change named as its cause explains
BISECT_DRAWS = 8  # of a stage's batches, for how much they move a query by themselves


class RetrainSettings(Record):
    """Execute the counterfactual exactly on every recorded batch."""

    id: Literal["retrain"] = "retrain"


class CheckpointDeltaSettings(Record):
    """gamma after the stage minus gamma before it."""

    id: Literal["checkpoint_delta"] = "checkpoint_delta"


class TaskVectorSettings(Record):
    """Subtract the stage's parameter change from the final parameters."""

    id: Literal["task_vector"] = "task_vector"


class AaScoreSettings(Record):
    """The paper's AA-Score: d gamma / d alpha at alpha = 1.

    ``curvature_examples`` is how many examples of each stage ``ekfac`` is computed from.
    """

    id: Literal["aa_score"] = "aa_score"
    form: Literal["tangent", "adjoint"] = "tangent"
    curvature: CurvatureName = "exact"
    curvature_examples: Annotated[int, Field(ge=1, le=2**20)] = DEFAULT_CURVATURE_EXAMPLES


class SubsampledReplaySettings(Record):
    """Replay every later step on b of its B examples, K times.

    ``fraction`` is b / B. ``resolutions`` 2 runs everything on half of those examples as well:
    heat is extrapolated, and one replica is enough for an interval.
    """

    id: Literal["subsampled_replay"] = "subsampled_replay"
    fraction: Annotated[float, Field(gt=0, le=1)] = DEFAULT_FRACTION
    replicas: Annotated[int, Field(ge=1, le=64)] = DEFAULT_REPLICAS
    resolutions: Literal[1, 2] = 1


class AutoSettings(Record):
    """The cheapest estimator whose measured error is within ``tolerance``, up to exact retraining.

    ``tolerance`` bounds half the width of an effect's interval, in the query's unit, or relative to
    an effect larger than 1. ``budget`` bounds
    what the audit may cost, in gradient-examples over those of exact retraining.
    """

    id: Literal["auto"] = "auto"
    tolerance: Annotated[float, Field(gt=0)] = DEFAULT_TOLERANCE
    budget: Annotated[float, Field(gt=0)] | None = None


class CheckpointJumpSettings(Record):
    """Carry the displacement that the stage left behind linearly on, and evaluate there.

    ``curvature`` stands in the Jacobians of the recorded steps; ``source`` takes one exponential of
    each stage's EK-FAC instead of its steps. ``curvature_examples`` is how many examples of each
    stage an EK-FAC is computed from, ``fraction`` the part b / B of the examples on which an
    intervened stage that is not skipped is run, ``step_fraction`` that on which the Jacobians of
    later steps are taken, for ``replicas`` draws.
    """

    id: Literal["checkpoint_jump"] = "checkpoint_jump"
    curvature: CurvatureName | Literal["source"] = "exact"
    curvature_examples: Annotated[int, Field(ge=1, le=2**20)] = DEFAULT_CURVATURE_EXAMPLES
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    step_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    replicas: Annotated[int, Field(ge=1, le=64)] = 1


class CoarseReplaySettings(Record):
    """Replay every later step, with one gradient for each block of them, K times.

    ``fraction`` is m / (c B), the part of a block's examples on which its gradient is taken.
    ``curvature`` is that of the local model within a block; ``curvature_examples`` is how many
    examples of each stage ``ekfac`` is computed from.
    """

    id: Literal["coarse_replay"] = "coarse_replay"
    block_steps: Annotated[int, Field(ge=1, le=1024)] = 5
    fraction: Annotated[float, Field(gt=0, le=1)] = 0.2
    curvature: Literal["none", "ekfac"] = "ekfac"
    curvature_examples: Annotated[int, Field(ge=1, le=2**20)] = DEFAULT_CURVATURE_EXAMPLES
    replicas: Annotated[int, Field(ge=1, le=64)] = 4


class SettleSettings(Record):
    """Run the last part of each later stage from its recorded end plus the displacement, K times.

    ``tail`` is the part of the steps, ``fraction`` the part b / B of their examples.
    """

    id: Literal["settle"] = "settle"
    tail: Annotated[float, Field(gt=0, le=1)] = 0.5
    fraction: Annotated[float, Field(gt=0, le=1)] = 0.125
    replicas: Annotated[int, Field(ge=1, le=64)] = 4


class DefaultSettings(Record):
    """``auto`` with its defaults."""

    id: Literal["default"] = "default"


EstimatorSettings = Annotated[
    RetrainSettings
    | CheckpointDeltaSettings
    | TaskVectorSettings
    | AaScoreSettings
    | SubsampledReplaySettings
    | AutoSettings
    | CheckpointJumpSettings
    | CoarseReplaySettings
    | SettleSettings
    | DefaultSettings,
    Field(discriminator="id"),
]


def resolve(settings: EstimatorSettings) -> EstimatorSettings:
    """Return explicit settings: ``default`` becomes the estimator it stands for."""
    return AutoSettings() if settings.id == "default" else settings
