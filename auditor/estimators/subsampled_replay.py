"""``subsampled_replay``: the real optimizer arithmetic, every step, on b of its B examples.

K replicas with different sub-samples run as lanes of one batch. Beside each counterfactual the
*factual* run is replayed with the same settings: how far that ends from the recorded model is the
estimator's own error on this log and query (decisions, 4).
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from typing_extensions import override

from auditor.estimators.base import Estimator, Question, Sample, Values
from auditor.plan.actions import ActionSpec, Advance, Evaluate
from auditor.plan.chains import chain_from, end_of, is_whole_skip
from auditor.plan.request import Intervention


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SubsampledReplay(Estimator):
    """Replay with ``fraction`` b / B of each step's examples, ``replicas`` K times.

    Cost: K b / B of retraining in examples, and as much again for the factual replays.
    """

    fraction: float
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
        if self._nothing_is_replayed(question):
            return Sample(effects=effects[:1], exact=True)
        replays = [values.per_example(end) for _, end in self._factuals(question)]
        return Sample(
            effects=effects,
            deviations=recorded - np.stack(replays),  # [K, N]
            exact=self.fraction == 1.0,
        )

    @staticmethod
    def _nothing_is_replayed(question: Question) -> bool:
        last = question.stage_index == len(question.log.stages) - 1
        return last and is_whole_skip(question.intervention)

    def _counterfactuals(self, question: Question) -> list[tuple[tuple[Advance, ...], Evaluate]]:
        return self._chains(question, question.stage_index, question.intervention)

    def _factuals(self, question: Question) -> list[tuple[tuple[Advance, ...], Evaluate]]:
        if self._nothing_is_replayed(question):
            return []
        # A skipped stage executes nothing, so only the stages after it are replayed.
        first = question.stage_index + (1 if is_whole_skip(question.intervention) else 0)
        return self._chains(question, first, None)

    def _chains(
        self, question: Question, first: int, intervention: Intervention | None
    ) -> list[tuple[tuple[Advance, ...], Evaluate]]:
        chains = [
            chain_from(
                question.log,
                question.log_digest,
                first,
                intervention=intervention,
                fraction=self.fraction,
                replica=replica,
                seed=question.seed,
            )
            for replica in range(self.replicas)
        ]
        return [(chain, question.evaluate(end_of(chain, question.log))) for chain in chains]
