"""``aa_score``, adjoint form: one backward sweep per query yields every single step."""

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from typing_extensions import override

from auditor.estimators.base import Estimator, Question, Sample, Values
from auditor.plan.actions import ActionSpec, Sweep


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class AaAdjoint(Estimator):
    """(1 - alpha) sum over the steps of d gamma / d alpha_k at alpha = 1; the mean only.

    Cost: about three gradients per step per query, whatever the number of stages.

    References:
        Zhang et al. (2025), arXiv 2506.00175.
    """

    curvature: Literal["exact", "none"]

    @override
    def actions(self, question: Question) -> tuple[ActionSpec, ...]:
        return (self._sweep(question),)

    @override
    def sample(self, question: Question, values: Values) -> Sample:
        stage = question.log.stages[question.stage_index]
        steps = question.intervention.steps
        first = steps.first_step if steps else stage.first_step
        end = steps.end_step if steps else stage.end_step
        origin = question.log.stages[0].first_step
        derivative = values.per_step(self._sweep(question))[first - origin : end - origin].sum()
        part = question.intervention.removed_part
        return Sample(effects=np.array([[part * derivative]]))

    def _sweep(self, question: Question) -> Sweep:
        return Sweep(log=question.log_digest, query=question.bare_query, curvature=self.curvature)
