"""``retrain``: execute the counterfactual exactly, on every recorded batch; the ground truth."""

from typing import Literal, final

from typing_extensions import override

from auditor.estimators.base import Estimator, Question, Sample, Values
from auditor.estimators.kind import EstimatorKind
from auditor.plan.actions import ActionSpec, Advance
from auditor.plan.chains import chain_from, end_of
from auditor.plan.settings import OwnSettings


class RetrainSettings(OwnSettings):
    """Execute the counterfactual exactly on every recorded batch."""

    id: Literal["retrain"] = "retrain"


@final
class Retrain(Estimator):
    """Exact retraining from the stage's start; cost: every later step's examples, once."""

    @override
    def actions(self, question: Question) -> tuple[ActionSpec, ...]:
        chain = self._chain(question)
        end = question.evaluate(end_of(chain, question.log))
        return (*chain, end, question.factual)

    @override
    def sample(self, question: Question, values: Values) -> Sample:
        end = question.evaluate(end_of(self._chain(question), question.log))
        effects = values.per_example(question.factual) - values.per_example(end)  # [N]
        return Sample(effects=effects[None], exact=True)

    @staticmethod
    def _chain(question: Question) -> tuple[Advance, ...]:
        return chain_from(
            question.log,
            question.log_digest,
            question.stage_index,
            interventions=question.parts,
            fraction=1.0,
            replica=0,
            seed=question.seed,
        )


RETRAIN = EstimatorKind(
    settings=RetrainSettings,
    build=lambda _: Retrain(),
    level=2,
    answers="the counterfactual executed exactly on every recorded batch: the ground truth",
    cost="every later step, once for each intervention",
    interval="exact",
    allocates=True,
    exports=True,
)
