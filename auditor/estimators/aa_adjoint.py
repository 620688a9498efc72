"""``aa_score``, adjoint form: one backward sweep per query yields every single step."""

from dataclasses import dataclass
from typing import final

import numpy as np
from typing_extensions import override

from auditor.estimators.base import Estimator, Question, Sample, Values
from auditor.plan.actions import ActionSpec, Sweep
from auditor.plan.curvature import CurvatureName, step_curvature


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class AaAdjoint(Estimator):
    """(1 - alpha) sum over the steps of d gamma / d alpha_k at alpha = 1; the mean only.

    Cost: about three gradients per step per query, whatever the number of stages.

    References:
        Zhang et al. (2025), arXiv 2506.00175.
    """

    curvature: CurvatureName
    curvature_examples: int

    @override
    def actions(self, question: Question) -> tuple[ActionSpec, ...]:
        return (self._sweep(question),)

    @override
    def sample(self, question: Question, values: Values) -> Sample:
        derivatives = values.per_step(self._sweep(question))  # [K]
        origin = question.log.stages[0].first_step
        effect = 0.0
        for index, part in question.parts.items():
            window = part.steps or question.log.stages[index]
            own = derivatives[window.first_step - origin : window.end_step - origin]
            effect += part.removed_part * float(own.sum())
        return Sample(effects=np.array([[effect]]))

    def _sweep(self, question: Question) -> Sweep:
        curvature = step_curvature(
            self.curvature, examples=self.curvature_examples, seed=question.seed
        )
        return Sweep(log=question.log_digest, query=question.bare_query, curvature=curvature)
