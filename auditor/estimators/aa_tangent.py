"""``aa_score``, tangent form: one embedding per intervention, reused by every query."""

from dataclasses import dataclass
from typing import final

import numpy as np
from typing_extensions import override

from auditor.estimators.base import Estimator, Question, Sample, Values
from auditor.plan.actions import ActionSpec, Embedding, Project, key_of
from auditor.plan.curvature import CurvatureName, step_curvature
from auditor.plan.request import Intervention


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class AaTangent(Estimator):
    """(1 - alpha) d gamma / d alpha at alpha = 1, per example, summed over a joint one's parts.

    Cost: about three gradients per later step per stage.

    References:
        Zhang et al. (2025), arXiv 2506.00175.
    """

    curvature: CurvatureName
    curvature_examples: int

    @override
    def actions(self, question: Question) -> tuple[ActionSpec, ...]:
        return tuple(
            spec
            for part in question.parts.values()
            for spec in self._projected(question, part=part)
        )

    @override
    def sample(self, question: Question, values: Values) -> Sample:
        effects = [
            part.removed_part * values.per_example(self._projected(question, part=part)[1])  # [N]
            for part in question.parts.values()
        ]
        return Sample(effects=np.sum(effects, axis=0)[None])

    def _projected(self, question: Question, *, part: Intervention) -> tuple[Embedding, Project]:
        # The derivative does not depend on alpha: skip and every fade share one embedding.
        direction = Intervention(kind="skip", stage=part.stage, steps=part.steps)
        embedding = Embedding(
            log=question.log_digest,
            intervention=direction,
            curvature=step_curvature(
                self.curvature, examples=self.curvature_examples, seed=question.seed
            ),
        )
        project = Project(
            log=question.log_digest, embedding=key_of(embedding), query=question.bare_query
        )
        return embedding, project
