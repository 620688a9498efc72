"""``coarse_replay``: the optimizer's own steps, with one gradient for a block of them.

In between a local model of the gradient stands in, so that a run that is bound by the time of its
sequential steps, not by examples, is followed at a fraction of that time. As in
``subsampled_replay``, factual replays with the same settings say how far that is off.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field
from typing_extensions import override

from auditor.estimators.base import Estimator, Question, Sample, Values
from auditor.estimators.kind import EstimatorKind
from auditor.estimators.whole_batches import require_whole_batches
from auditor.plan.actions import ActionSpec, Evaluate, StateRef
from auditor.plan.chains import is_whole_skip
from auditor.plan.coarse_chains import coarse_chain
from auditor.plan.request import Intervention
from auditor.plan.settings import DEFAULT_CURVATURE_EXAMPLES, OwnSettings
from auditor.stagelog.log import StageLog


class CoarseReplaySettings(OwnSettings):
    """Replay every later step, with one gradient for each block of them, K times.

    ``fraction`` is m / (c B), the part of a block's examples on which its gradient is taken.
    ``curvature`` is that of the local model within a block; ``curvature_examples`` is how many
    examples of each stage ``ekfac`` is computed from.
    """

    id: Literal["coarse_replay"] = "coarse_replay"
    block_steps: Annotated[int, Field(ge=1, le=1024)] = 5
    fraction: Annotated[float, Field(gt=0, le=1)] = 0.2
    curvature: Literal["none", "ekfac"] = "ekfac"
    curvature_examples: Annotated[int, Field(ge=1, le=2**20)] = DEFAULT_CURVATURE_EXAMPLES
    replicas: Annotated[int, Field(ge=1, le=64)] = 4


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class CoarseReplay(Estimator):
    """Replay in blocks of ``block_steps`` c, with gradients on ``fraction`` m / (c B), K times.

    Cost: K m / (c B) of retraining in examples and 1 / c of its sequential gradients, as much again
    for the factual replays, and an EK-FAC a stage with curvature ``ekfac``.
    """

    block_steps: int
    fraction: float
    curvature: Literal["none", "ekfac"]
    curvature_examples: int
    replicas: int

    @override
    def actions(self, question: Question) -> tuple[ActionSpec, ...]:
        needed: list[ActionSpec] = [question.factual]
        for chain, end in (*self._counterfactuals(question), *self._factuals(question)):
            needed += [*chain, end]
        return tuple(needed)

    @override
    def sample(self, question: Question, values: Values) -> Sample:
        recorded = values.per_example(question.factual)  # [N]
        ends = [values.per_example(end) for _, end in self._counterfactuals(question)]
        effects = recorded - np.stack(ends)  # [K, N]
        factuals = self._factuals(question)
        if not factuals:
            return Sample(effects=effects[:1], exact=True)
        replays = np.stack([values.per_example(end) for _, end in factuals])
        exact = self.block_steps == 1 and self.fraction == 1.0
        return Sample(effects=effects, deviations=recorded - replays, exact=exact)

    def _counterfactuals(self, question: Question) -> list[tuple[tuple[ActionSpec, ...], Evaluate]]:
        return self._chains(question, question.stage_index, question.parts)

    def _factuals(self, question: Question) -> list[tuple[tuple[ActionSpec, ...], Evaluate]]:
        """Return replays of the recorded run from the first stage that executes a step."""
        later = range(question.stage_index, len(question.log.stages))
        first = next((t for t in later if not is_whole_skip(question.parts.get(t))), None)
        return [] if first is None else self._chains(question, first, {})

    def _chains(
        self, question: Question, first: int, interventions: Mapping[int, Intervention]
    ) -> list[tuple[tuple[ActionSpec, ...], Evaluate]]:
        chains: list[tuple[tuple[ActionSpec, ...], StateRef]] = [
            coarse_chain(
                question.log,
                question.log_digest,
                first,
                interventions=interventions,
                settings=self,
                replica=replica,
                seed=question.seed,
            )
            for replica in range(self.replicas)
        ]
        return [(chain, question.evaluate(end)) for chain, end in chains]


def _check(settings: CoarseReplaySettings, log: StageLog) -> None:
    if settings.block_steps > 1:
        require_whole_batches(
            log,
            where="estimator.block_steps",
            found=settings.block_steps,
            remedy="Use auto without a budget, or retrain.",
        )
    if settings.fraction < 1:
        require_whole_batches(
            log,
            where="estimator.fraction",
            found=settings.fraction,
            remedy="Set fraction to 1, or use auto without a budget.",
        )


COARSE_REPLAY = EstimatorKind(
    settings=CoarseReplaySettings,
    build=lambda settings: CoarseReplay(
        block_steps=settings.block_steps,
        fraction=settings.fraction,
        curvature=settings.curvature,
        curvature_examples=settings.curvature_examples,
        replicas=settings.replicas,
    ),
    level=2,
    averages=False,
    answers="the counterfactual run with one gradient for each block of c steps, K times",
    cost="K m/(cB) × retraining's examples and 1/c of its sequential gradients, twice",
    interval="yes",
    status="experimental",
    check=_check,
)
