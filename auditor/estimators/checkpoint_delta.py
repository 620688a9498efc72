"""``checkpoint_delta``: gamma after the stage minus gamma before it; what people look at today."""

from typing import final

from typing_extensions import override

from auditor.estimators.base import Estimator, Question, Sample, Values
from auditor.plan.actions import ActionSpec
from auditor.plan.chains import boundary_as_final, is_whole_skip


@final
class CheckpointDelta(Estimator):
    """Forward passes at two boundary checkpoints; ignores everything that came later.

    Parameters added by later stages have their recorded initial values.
    """

    @override
    def actions(self, question: Question) -> tuple[ActionSpec, ...]:
        needed: list[ActionSpec] = []
        for boundary in (question.stage_index, question.stage_index + 1):
            chain, state = boundary_as_final(question.log, question.log_digest, boundary)
            needed += [*chain, question.evaluate(state)]
        return tuple(needed)

    @override
    def sample(self, question: Question, values: Values) -> Sample:
        before, after = (
            values.per_example(
                question.evaluate(boundary_as_final(question.log, question.log_digest, b)[1])
            )
            for b in (question.stage_index, question.stage_index + 1)
        )
        last = question.stage_index == len(question.log.stages) - 1
        exact = last and is_whole_skip(question.intervention)
        return Sample(effects=(after - before)[None], exact=exact)
