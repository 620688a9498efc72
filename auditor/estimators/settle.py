"""``settle``: keep what the later stages learned, and let the displacement relax at their ends.

Every later stage starts from its recorded end plus the displacement so far and runs only the last
part of its steps. The estimate is paired: the same steps run without a displacement, and effect and
displacement are differences of the two, so that removing nothing has no effect (decisions, 7).
"""

from dataclasses import dataclass
from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field
from typing_extensions import override

from auditor.estimators.base import Estimator, Question, Sample, Values
from auditor.estimators.kind import EstimatorKind
from auditor.estimators.whole_batches import require_whole_batches
from auditor.plan.actions import ActionSpec
from auditor.plan.chains import is_whole_skip
from auditor.plan.settings import OwnSettings
from auditor.plan.twins import Twins, displaced_start, settle_twins
from auditor.stagelog.log import StageLog


class SettleSettings(OwnSettings):
    """Run the last part of each later stage from its recorded end plus the displacement, K times.

    ``tail`` is the part of the steps, ``fraction`` the part b / B of their examples.
    """

    id: Literal["settle"] = "settle"
    tail: Annotated[float, Field(gt=0, le=1)] = 0.5
    fraction: Annotated[float, Field(gt=0, le=1)] = 0.125
    replicas: Annotated[int, Field(ge=1, le=64)] = 4


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Settle(Estimator):
    """Run the last ``tail`` of each later stage on ``fraction`` of its examples, K times.

    Cost: K f b / B of retraining's later stages in examples, and as much again, once for all
    interventions, for the factual twins. Stages that are not skipped run their own steps too.
    """

    tail: float
    fraction: float
    replicas: int

    @override
    def actions(self, question: Question) -> tuple[ActionSpec, ...]:
        needed: list[ActionSpec] = [question.factual]
        for replica in range(self.replicas):
            actions, ends = self._twins(question, replica=replica)
            needed += [*actions, *map(question.evaluate, ends)]
        return tuple(needed)

    @override
    def sample(self, question: Question, values: Values) -> Sample:
        ends = [self._twins(question, replica=replica)[1] for replica in range(self.replicas)]
        displaced, twins = (
            np.stack([values.per_example(question.evaluate(end)) for end in of_replicas])
            for of_replicas in zip(*ends, strict=True)
        )  # [K, N] each
        effects = twins - displaced
        first = question.stage_index
        last = first == len(question.log.stages) - 1
        if last and (self.fraction == 1.0 or is_whole_skip(question.parts[first])):
            return Sample(effects=effects[:1], exact=True)
        # No deviations: they do not show what the steps left out would have done. Intervals from
        # them covered 58 % on the worst workload at nominal 90 % (benchmarks/RESULTS.md).
        return Sample(effects=effects)

    def _twins(self, question: Question, *, replica: int) -> tuple[tuple[ActionSpec, ...], Twins]:
        """Return the actions of one replica, and the final states they lead to."""
        first = question.stage_index
        started, twins = displaced_start(
            question.log_digest,
            first,
            intervention=question.parts[first],
            fraction=self.fraction,
            replica=replica,
            seed=question.seed,
        )
        actions: list[ActionSpec] = list(started)
        for stage in range(first + 1, len(question.log.stages)):
            settled, twins = settle_twins(
                question.log_digest,
                stage,
                twins,
                tail=self.tail,
                fraction=self.fraction,
                replica=replica,
                seed=question.seed,
            )
            actions += settled
        return tuple(actions), twins


def _check(settings: SettleSettings, log: StageLog) -> None:
    if settings.fraction < 1:
        require_whole_batches(
            log,
            where="estimator.fraction",
            found=settings.fraction,
            remedy="Set fraction to 1, or use auto without a budget.",
        )


SETTLE = EstimatorKind(
    settings=SettleSettings,
    build=lambda settings: Settle(
        tail=settings.tail, fraction=settings.fraction, replicas=settings.replicas
    ),
    level=2,
    averages=False,
    answers="the last part of each later stage, run again from its end plus the displacement",
    cost="K f b/B × retraining's later stages, as much again once for all interventions",
    interval="no",
    joint=False,
    status="experimental",
    check=_check,
)
