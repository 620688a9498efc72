"""``checkpoint_delta``: gamma after the stage minus gamma before it; what people look at today."""

from typing import Literal, final

import numpy as np
from typing_extensions import override

from auditor.estimators.base import Estimator, Floats, Question, Sample, Values
from auditor.estimators.kind import EstimatorKind
from auditor.plan.actions import ActionSpec
from auditor.plan.chains import boundary_as_final, is_whole_skip
from auditor.plan.settings import OwnSettings


class CheckpointDeltaSettings(OwnSettings):
    """gamma after the stage minus gamma before it."""

    id: Literal["checkpoint_delta"] = "checkpoint_delta"


@final
class CheckpointDelta(Estimator):
    """Forward passes at two boundary checkpoints; ignores everything that came later.

    Parameters added by later stages have their recorded initial values. A joint intervention's
    figure is the sum over its stages.
    """

    @override
    def actions(self, question: Question) -> tuple[ActionSpec, ...]:
        needed: list[ActionSpec] = []
        for boundary in (boundary for stage in question.parts for boundary in (stage, stage + 1)):
            chain, state = boundary_as_final(question.log, question.log_digest, boundary)
            needed += [*chain, question.evaluate(state)]
        return tuple(needed)

    @override
    def sample(self, question: Question, values: Values) -> Sample:
        deltas = [
            self._at(question, stage + 1, values) - self._at(question, stage, values)
            for stage in question.parts
        ]
        last = question.parts.get(len(question.log.stages) - 1)
        exact = len(question.parts) == 1 and is_whole_skip(last)
        return Sample(effects=np.sum(deltas, axis=0)[None], exact=exact)

    @staticmethod
    def _at(question: Question, boundary: int, values: Values) -> Floats:
        _, state = boundary_as_final(question.log, question.log_digest, boundary)
        return values.per_example(question.evaluate(state))


CHECKPOINT_DELTA = EstimatorKind(
    settings=CheckpointDeltaSettings,
    build=lambda _: CheckpointDelta(),
    level=0,
    answers="the query after the stage minus before it: what people look at today",
    cost="forward passes",
    interval="no",
    interventions=("skip",),
    parts_of_stages=False,
)
