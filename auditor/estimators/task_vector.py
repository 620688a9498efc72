"""``task_vector``: subtract the stages' parameter changes from the final parameters."""

from typing import Literal, final

from typing_extensions import override

from auditor.estimators.base import Estimator, Question, Sample, Values
from auditor.estimators.kind import EstimatorKind
from auditor.plan.actions import ActionSpec, Computed, Displace, Evaluate, key_of
from auditor.plan.settings import OwnSettings


class TaskVectorSettings(OwnSettings):
    """Subtract the stage's parameter change from the final parameters."""

    id: Literal["task_vector"] = "task_vector"


@final
class TaskVector(Estimator):
    """Task arithmetic: gamma(theta_K) - gamma(theta_K - sum_t (theta_{b_t} - theta_{a_t})).

    Keeps the recorded final buffers and takes added parameters from their recorded initial values
    (decisions, 6). Forward passes only.

    References:
        Ilharco et al. (2023), arXiv 2212.04089.
    """

    @override
    def actions(self, question: Question) -> tuple[ActionSpec, ...]:
        displace, displaced = self._displaced(question)
        return (displace, displaced, question.factual)

    @override
    def sample(self, question: Question, values: Values) -> Sample:
        _, displaced = self._displaced(question)
        effects = values.per_example(question.factual) - values.per_example(displaced)
        return Sample(effects=effects[None])

    @staticmethod
    def _displaced(question: Question) -> tuple[Displace, Evaluate]:
        displace = Displace(log=question.log_digest, stages=tuple(question.parts))
        return displace, question.evaluate(Computed(key=key_of(displace)))


TASK_VECTOR = EstimatorKind(
    settings=TaskVectorSettings,
    build=lambda _: TaskVector(),
    level=0,
    answers="the query without the stage's parameter change (task arithmetic)",
    cost="forward passes",
    interval="no",
    interventions=("skip",),
    parts_of_stages=False,
)
