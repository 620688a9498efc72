"""``subsampled_replay``: the real optimizer arithmetic, every step, on b of its B examples.

K replicas with different sub-samples run as lanes of one batch. Beside each counterfactual the
*factual* run is replayed with the same settings: how far that ends from the recorded model is the
estimator's own error on this log and query (decisions, 4).
"""

from collections.abc import Mapping
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
        return _first_executed(question) == len(question.log.stages)

    def _counterfactuals(self, question: Question) -> list[tuple[tuple[Advance, ...], Evaluate]]:
        return self._chains(question, question.stage_index, question.parts)

    def _factuals(self, question: Question) -> list[tuple[tuple[Advance, ...], Evaluate]]:
        if self._nothing_is_replayed(question):
            return []
        return self._chains(question, _first_executed(question), {})

    def _chains(
        self, question: Question, first: int, interventions: Mapping[int, Intervention]
    ) -> list[tuple[tuple[Advance, ...], Evaluate]]:
        chains = [
            chain_from(
                question.log,
                question.log_digest,
                first,
                interventions=interventions,
                fraction=self.fraction,
                replica=replica,
                seed=question.seed,
            )
            for replica in range(self.replicas)
        ]
        return [(chain, question.evaluate(end_of(chain, question.log))) for chain in chains]


def _first_executed(question: Question) -> int:
    """Return the first stage of a counterfactual that executes a step: a skipped one has none."""
    parts = question.parts
    later = range(question.stage_index, len(question.log.stages))
    return next((t for t in later if not is_whole_skip(parts.get(t))), len(question.log.stages))
