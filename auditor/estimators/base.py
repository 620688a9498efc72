"""What an estimator is: a plan of actions for a question, and a reading of their results."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from auditor.effects import Better, Query, QueryKind
from auditor.plan.actions import ActionSpec, Evaluate, Project, Recorded, StateRef, Sweep
from auditor.plan.chains import is_whole_skip
from auditor.plan.request import Intervention, Joint
from auditor.plan.settings import DEFAULT_BINS, DEFAULT_MEASURE
from auditor.stagelog.log import StageLog

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One intervention and one plain query on one log; a probe is two questions."""

    log: StageLog
    log_digest: str
    intervention: Intervention | Joint
    query: Query
    seed: int

    @property
    def parts(self) -> Mapping[int, Intervention]:
        """What acts on each stage, by the stage's position, earliest first."""
        names = [stage.name for stage in self.log.stages]
        parts = (
            self.intervention.parts
            if isinstance(self.intervention, Joint)
            else (self.intervention,)
        )
        return dict(sorted((names.index(part.stage), part) for part in parts))

    @property
    def stage_index(self) -> int:
        """Position of the intervention's stage, of a joint one's first."""
        return next(iter(self.parts))

    @property
    def first_executed(self) -> int:
        """The first stage of the counterfactual that executes a step; T if none does."""
        later = range(self.stage_index, len(self.log.stages))
        executed = (t for t in later if not is_whole_skip(self.parts.get(t)))
        return next(executed, len(self.log.stages))

    @property
    def bare_query(self) -> Query:
        """The query without what only its report needs, so that audits share its values.

        Settings that it leaves to this version are written out.
        """
        query = self.query
        settings: dict[str, object] = {}
        if query.kind is QueryKind.ECE:
            settings["bins"] = query.bins or DEFAULT_BINS
        if query.kind is QueryKind.WORST_GROUP:
            settings["measure"] = query.measure or DEFAULT_MEASURE
        return query.model_copy(
            update={
                **settings,
                "name": query.kind.value,
                "better": Better.LOWER,
                "reduction": "mean",
                "unit_": None,
            }
        )

    def evaluate(self, state: StateRef) -> Evaluate:
        """Return the action that evaluates the query at ``state``."""
        return Evaluate(log=self.log_digest, state=state, query=self.bare_query)

    @property
    def factual(self) -> Evaluate:
        """The query at the recorded final state."""
        return self.evaluate(Recorded(boundary=len(self.log.stages)))


class Values(Protocol):
    """Results of finished actions."""

    def per_example(self, spec: Evaluate | Project) -> Floats:
        """Return the values [N] of an evaluation or projection."""

    def per_step(self, spec: Sweep) -> Floats:
        """Return the derivatives [K] of a sweep."""


class Finished(Values, Protocol):
    """Results while some actions are not finished."""

    def has(self, spec: ActionSpec) -> bool:
        """Say whether an action is finished."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """What an estimator found for one question.

    Args:
        effects: gamma(factual) - gamma(counterfactual), [K, N]: replicas by examples; N is 1
            where the estimator knows only the mean.
        deviations: gamma(factual) - gamma(factual replay), [K, N]; None without replays.
        exact: Whether the figure equals exact retraining by construction.
        resolution: Effects at this resolution minus those of the same replicas at half of its
            examples a step, [K, N]; None for an estimator with one resolution.
        others: :func:`~auditor.estimators.interval.error_scale` of other effects on the same query
            at the same resolution, where errors may be taken as alike.
    """

    effects: Floats
    deviations: Floats | None = None
    exact: bool = False
    resolution: Floats | None = None
    others: tuple[float, ...] = ()

    def minus(self, other: "Sample") -> "Sample":
        """Return the paired difference of two samples (treated minus control of a probe).

        ``others`` are of paired samples already: they are this sample's.
        """
        return Sample(
            effects=self.effects - other.effects,
            deviations=_difference(self.deviations, other.deviations),
            exact=self.exact and other.exact,
            resolution=_difference(self.resolution, other.resolution),
            others=self.others,
        )


def _difference(one: Floats | None, other: Floats | None) -> Floats | None:
    return None if one is None or other is None else one - other


class Estimator(Protocol):
    """One way to answer a question."""

    def actions(self, question: Question) -> tuple[ActionSpec, ...]:
        """Return the actions whose results :meth:`sample` reads, dependencies first."""

    def sample(self, question: Question, values: Values) -> Sample:
        """Return what the finished actions say."""
