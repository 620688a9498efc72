"""``auto``: the cheapest of a ladder of replays whose measured error is within the tolerance.

The ladder's rungs are ``subsampled_replay`` at two resolutions each, rung i + 1 on twice the
examples of rung i so that they share one of them, and exact retraining at the top where the budget
allows it. Errors fall about as the examples rise, so rungs that cannot be enough are left out.
Which rung answers an intervention is decided between rounds of planning from the figures of the
rungs below; :mod:`auditor.audit.choose` does that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal, final

from pydantic import Field
from typing_extensions import override

from auditor.estimators.base import Estimator, Question, Sample, Values
from auditor.estimators.kind import EstimatorKind
from auditor.estimators.retrain import Retrain
from auditor.estimators.subsampled_replay import SubsampledReplay
from auditor.estimators.whole_batches import require_whole_batches
from auditor.plan.actions import ActionSpec
from auditor.plan.settings import OwnSettings
from auditor.stagelog.log import StageLog

DEFAULT_TOLERANCE = 0.05  # in the unit of each query
CHECK_SHARE = 0.1
"""Part of the budget, or of retraining everything, that ``auto`` spends on checking itself."""
AUTO_FRACTIONS = (1 / 16, 1 / 8, 1 / 4)
"""Resolutions that ``auto`` tries, each with half of itself, before it retrains exactly."""


class AutoSettings(OwnSettings):
    """The cheapest estimator whose measured error is within ``tolerance``, up to exact retraining.

    ``tolerance`` bounds half the width of an effect's interval, in the query's unit, or relative to
    an effect larger than 1. ``budget`` bounds
    what the audit may cost, in gradient-examples over those of exact retraining.
    """

    id: Literal["auto"] = "auto"
    tolerance: Annotated[float, Field(gt=0)] = DEFAULT_TOLERANCE
    budget: Annotated[float, Field(gt=0)] | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Auto(Estimator):
    """The ladder, and how far up it each intervention is answered.

    Attributes:
        fractions: b / B of each rung, increasing.
        exact: Whether exact retraining follows.
        path: The rungs tried for an intervention, by its label, the last of which answers it; the
            first rung for others.
        exactly: Intervention that is retrained beside its first rung, as a check on it.
        factors: What the error of a rung has to be multiplied by, by query, as that check found.
        others: Scales of the errors of the other effects on a query that came to the same rung, by
            intervention and query.
    """

    fractions: tuple[float, ...] = AUTO_FRACTIONS
    exact: bool = True
    path: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    exactly: str | None = None
    factors: Mapping[str, float] = field(default_factory=dict)
    others: Mapping[tuple[str, str], tuple[float, ...]] = field(default_factory=dict)

    @property
    def rungs(self) -> tuple[Estimator, ...]:
        """The estimators, cheapest first."""
        replays = tuple(
            SubsampledReplay(fraction=fraction, replicas=1, resolutions=2)
            for fraction in self.fractions
        )
        return (*replays, Retrain()) if self.exact else replays

    def chosen(self, question: Question) -> Estimator:
        """Return the estimator that answers a question."""
        label = question.intervention.label
        return Retrain() if label == self.exactly else self.rungs[self._tried(label)[-1]]

    @override
    def actions(self, question: Question) -> tuple[ActionSpec, ...]:
        tried = [self.rungs[rung] for rung in self._tried(question.intervention.label)]
        return tuple(
            spec
            for estimator in (*tried, self.chosen(question))
            for spec in estimator.actions(question)
        )

    @override
    def sample(self, question: Question, values: Values) -> Sample:
        return self.judged(self.chosen(question).sample(question, values), question)

    def judged(self, sample: Sample, question: Question) -> Sample:
        """Return a sample of a rung with all that is known of its error.

        Its parts are multiplied as the check found, and those of other effects go with it.
        """
        others = self.others.get((question.intervention.label, question.query.name), ())
        if sample.deviations is None or sample.resolution is None:
            return sample
        factor = self.factors.get(question.query.name, 1.0)
        return replace(
            sample,
            deviations=factor * sample.deviations,
            resolution=factor * sample.resolution,
            others=tuple(factor * scale for scale in others),
        )

    def _tried(self, label: str) -> tuple[int, ...]:
        return self.path.get(label, (0,))


def _check(settings: AutoSettings, log: StageLog) -> None:
    if settings.budget is not None and settings.budget < 1:
        require_whole_batches(
            log,
            where="estimator.budget",
            found=settings.budget,
            remedy="Ask without a budget, or for fewer interventions; task_vector is free.",
        )


AUTO = EstimatorKind(
    settings=AutoSettings,
    build=lambda _: Auto(),
    level=2,
    answers="each intervention by the cheapest replay whose interval is within the tolerance: "
    "on 1/16, 1/8 or 1/4 of every batch, then exactly",
    cost="3/32 × retraining's examples for the first rung, as much again for the self-check; "
    "at most the budget",
    interval="yes",
    allocates=True,
    check=_check,
)
