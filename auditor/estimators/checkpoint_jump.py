"""``checkpoint_jump``: displace the run where the stage ended, carry that on linearly, evaluate.

The displacement of the full state at the end of the intervened stage is known; it is carried
through the later stages by the Jacobians of their recorded steps, and the query is evaluated at the
displaced final parameters, not linearised. Final buffers stay as recorded (decisions, 3 and 6).
"""

from dataclasses import dataclass
from typing import Literal, final

from typing_extensions import override

from auditor.estimators.base import Estimator, Question, Sample, Values
from auditor.plan.actions import ActionSpec
from auditor.plan.chains import is_whole_skip
from auditor.plan.curvature import CurvatureName
from auditor.plan.twins import Twins, carry_twins, displaced_start


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointJump(Estimator):
    """gamma(xi_K) - gamma(xi_K + J ... J (xi'_{b_t} - xi_{b_t})); exact for the last stage.

    Cost: about three gradients a step of the later stages for each intervention, as many examples
    as the recorded batches; with curvature ``source`` none but those of an EK-FAC. Stages that are
    not skipped run their own steps on ``fraction`` of their examples too.

    References:
        Curvature ``source``: Bae et al. (2024), arXiv 2405.12186.
    """

    curvature: CurvatureName | Literal["source"]
    curvature_examples: int
    fraction: float

    @override
    def actions(self, question: Question) -> tuple[ActionSpec, ...]:
        actions, ends = self._twins(question)
        return (*actions, *map(question.evaluate, ends))

    @override
    def sample(self, question: Question, values: Values) -> Sample:
        displaced, twin = (
            values.per_example(question.evaluate(end)) for end in self._twins(question)[1]
        )  # [N] each
        first = question.stage_index
        executed = self.fraction == 1.0 or is_whole_skip(question.parts[first])
        last = first == len(question.log.stages) - 1
        return Sample(effects=(twin - displaced)[None], exact=last and executed)

    def _twins(self, question: Question) -> tuple[tuple[ActionSpec, ...], Twins]:
        """Return the actions, and the final states they lead to: displaced and factual."""
        first = question.stage_index
        started, twins = displaced_start(
            question.log_digest,
            first,
            intervention=question.parts[first],
            fraction=self.fraction,
            replica=0,
            seed=question.seed,
        )
        actions: list[ActionSpec] = list(started)
        for stage in range(first + 1, len(question.log.stages)):
            carry, twins = carry_twins(
                question.log_digest,
                stage,
                twins,
                curvature=self.curvature,
                curvature_examples=self.curvature_examples,
                seed=question.seed,
            )
            actions.append(carry)
        return tuple(actions), twins
