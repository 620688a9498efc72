"""What everything else may know of an estimator: its settings, its limits, and how it is told."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from auditor.estimators.base import Estimator
from auditor.plan.settings import OwnSettings
from auditor.stagelog.log import StageLog

InterventionKind = Literal["skip", "fade", "replace", "drop", "change"]
EVERY: tuple[InterventionKind, ...] = ("skip", "fade", "replace", "drop", "change")

SettingsT = TypeVar("SettingsT", bound=OwnSettings)


@dataclass(frozen=True, kw_only=True, slots=True)
class EstimatorKind(Generic[SettingsT]):
    """One kind of estimator; the last lines of its file.

    Attributes:
        settings: Its settings, whose ``id`` has the estimator's name as default.
        build: Makes the estimator from settings.
        level: Level of log that it needs: 0 has checkpoints, 2 every batch with its data.
        answers: What its figure is, for ``stageaudit estimators``.
        cost: What it costs, for the same table.
        interval: Whether its effects have an interval, or none because they are exact.
        interventions: What it treats.
        parts_of_stages: Whether it treats windows of steps.
        joint: Whether it treats interventions on several stages at once.
        differentiates: Whether its queries need a gradient.
        averages: Whether it follows stages that release a moving average of their parameters.
        allocates: Whether it runs any subset of stages, for Shapley values.
        exports: Whether the end of its trajectory is a model that a repair can hand out.
        status: ``experimental`` until it wins a row of ``benchmarks.fidelity``.
        check: Refuses settings that do not fit a log.
    """

    settings: type[SettingsT]
    build: Callable[[SettingsT], Estimator]
    level: Literal[0, 2]
    answers: str
    cost: str
    interval: Literal["yes", "no", "exact"]
    interventions: tuple[InterventionKind, ...] = EVERY
    parts_of_stages: bool = True
    joint: bool = True
    differentiates: bool = False
    averages: bool = True
    allocates: bool = False
    exports: bool = False
    status: Literal["public", "experimental"] = "public"
    check: Callable[[SettingsT, StageLog], None] | None = None

    @property
    def id(self) -> str:
        """The name by which requests ask for it."""
        return str(self.settings.model_fields["id"].default)


AnyKind = EstimatorKind[Any]
"""A kind whose settings do not matter."""
