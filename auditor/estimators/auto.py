"""``auto``: the cheapest of a ladder of replays whose measured error is within the tolerance.

The ladder's rungs are ``subsampled_replay`` at two resolutions each, rung i + 1 on twice the
examples of rung i so that they share one of them, and exact retraining at the top where the budget
allows it. Which rung answers an intervention is decided between rounds of planning from the figures
of the rungs below; :mod:`auditor.audit.choose` does that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import final

from typing_extensions import override

from auditor.estimators.base import Estimator, Question, Sample, Values
from auditor.estimators.retrain import Retrain
from auditor.estimators.subsampled_replay import SubsampledReplay
from auditor.plan.actions import ActionSpec
from auditor.plan.settings import AUTO_FRACTIONS


@final
@dataclass(frozen=True, kw_only=True)
class Auto(Estimator):
    """The ladder, and how far up it each intervention is answered.

    Attributes:
        fractions: b / B of each rung, increasing.
        exact: Whether exact retraining follows.
        reached: Rung by intervention, by its label; the first for others.
        exactly: Intervention that is retrained beside its first rung, as a check on it.
        factors: What the error of a rung has to be multiplied by, by query, as that check found.
    """

    fractions: tuple[float, ...] = AUTO_FRACTIONS
    exact: bool = True
    reached: Mapping[str, int] = field(default_factory=dict)
    exactly: str | None = None
    factors: Mapping[str, float] = field(default_factory=dict)

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
        return Retrain() if label == self.exactly else self.rungs[self.reached.get(label, 0)]

    @override
    def actions(self, question: Question) -> tuple[ActionSpec, ...]:
        reached = self.rungs[: self.reached.get(question.intervention.label, 0) + 1]
        specs = [spec for rung in reached for spec in rung.actions(question)]
        return (*specs, *self.chosen(question).actions(question))

    @override
    def sample(self, question: Question, values: Values) -> Sample:
        return self.widened(self.chosen(question).sample(question, values), question)

    def widened(self, sample: Sample, question: Question) -> Sample:
        """Return a sample with the parts of its error multiplied as the check found."""
        factor = self.factors.get(question.query.name, 1.0)
        if factor == 1.0 or sample.deviations is None or sample.resolution is None:
            return sample
        return replace(
            sample, deviations=factor * sample.deviations, resolution=factor * sample.resolution
        )
