"""What a request says of its estimator, and the scientific defaults that are of no single one."""

from typing import ClassVar, Literal

from pydantic import ConfigDict
from typing_extensions import override

from auditor.stagelog.record import Name, Record

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


class EstimatorSettings(Record):
    """Which estimator answers, and its settings by name.

    Which settings an estimator has is written in its own file, as :class:`OwnSettings`. A request
    is read without them, so that a client needs to know no estimator;
    :func:`auditor.estimators.registry.resolved` reads them where the request is checked.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float | int | str | bool | None]

    id: Name

    @override
    def __eq__(self, other: object) -> bool:
        """Say whether both name the same settings, whether they are of one class or not."""
        return isinstance(other, EstimatorSettings) and self.model_dump() == other.model_dump()

    @override
    def __hash__(self) -> int:
        return hash(self.id)


class OwnSettings(EstimatorSettings):
    """The settings of one estimator: those it names and no others."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


RECOMMENDED = EstimatorSettings(id="default")
"""What this version recommends; the registry says what it stands for."""
