"""``subsampled_replay``: the real optimizer arithmetic, every step, on b of its B examples.

K replicas with different sub-samples run as lanes of one batch. Beside each counterfactual the
*factual* run is replayed with the same settings: how far that ends from the recorded model is the
estimator's own error on this log and query (decisions, 4). With two resolutions everything runs on
b / 2 examples as well, and :mod:`auditor.estimators.two_resolutions` reads both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field
from typing_extensions import override

from auditor.errors import InputError
from auditor.estimators.base import Estimator, Floats, Question, Sample, Values
from auditor.estimators.kind import EstimatorKind
from auditor.estimators.two_resolutions import Replays, read_two_resolutions
from auditor.estimators.whole_batches import require_whole_batches
from auditor.plan.actions import ActionSpec, Advance, Evaluate
from auditor.plan.chains import chain_from, end_of, is_whole_skip
from auditor.plan.request import Intervention
from auditor.plan.sampling import has_two_resolutions
from auditor.plan.settings import OwnSettings
from auditor.stagelog.log import StageLog

DEFAULT_FRACTION = 0.5
DEFAULT_REPLICAS = 8


class SubsampledReplaySettings(OwnSettings):
    """Replay every later step on b of its B examples, K times.

    ``fraction`` is b / B. ``resolutions`` 2 runs everything on half of those examples as well:
    heat is extrapolated, and one replica is enough for an interval.
    """

    id: Literal["subsampled_replay"] = "subsampled_replay"
    fraction: Annotated[float, Field(gt=0, le=1)] = DEFAULT_FRACTION
    replicas: Annotated[int, Field(ge=1, le=64)] = DEFAULT_REPLICAS
    resolutions: Literal[1, 2] = 1


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SubsampledReplay(Estimator):
    """Replay with ``fraction`` b / B of each step's examples, ``replicas`` K times.

    Cost: K b / B of retraining in examples, half as much again with two resolutions, and as much
    for the factual replays, which interventions on one stage share.
    """

    fraction: float
    replicas: int
    resolutions: Literal[1, 2] = 1

    @override
    def actions(self, question: Question) -> tuple[ActionSpec, ...]:
        needed: list[ActionSpec] = [question.factual]
        for fraction in self._fractions:
            for chain, end in (
                *self._counterfactuals(question, fraction),
                *self._factuals(question, fraction),
            ):
                needed += [*chain, end]
        return tuple(needed)

    @override
    def sample(self, question: Question, values: Values) -> Sample:
        recorded = values.per_example(question.factual)  # [N]
        read = [self._replays(question, values, fraction) for fraction in self._fractions]
        if self._nothing_is_replayed(question):
            return Sample(effects=(recorded - read[0].counterfactual)[:1], exact=True)
        if len(read) == 2:
            return read_two_resolutions(recorded, *read, fraction=self.fraction)
        return Sample(
            effects=recorded - read[0].counterfactual,  # [K, N]
            deviations=recorded - read[0].factual,  # [K, N]
            exact=self.fraction == 1.0,
        )

    @property
    def _fractions(self) -> tuple[float, ...]:
        two = self.resolutions == 2 and self.fraction < 1
        return (self.fraction, self.fraction / 2) if two else (self.fraction,)

    def _replays(self, question: Question, values: Values, fraction: float) -> Replays:
        def ends(chains: list[tuple[tuple[Advance, ...], Evaluate]]) -> Floats:
            return np.stack([values.per_example(end) for _, end in chains])  # [K, N]

        counterfactual = ends(self._counterfactuals(question, fraction))
        factual = self._factuals(question, fraction)
        return Replays(
            counterfactual=counterfactual,
            factual=ends(factual) if factual else np.empty((0, counterfactual.shape[1])),
        )

    @staticmethod
    def _nothing_is_replayed(question: Question) -> bool:
        return _first_executed(question) == len(question.log.stages)

    def _counterfactuals(
        self, question: Question, fraction: float
    ) -> list[tuple[tuple[Advance, ...], Evaluate]]:
        return self._chains(question, question.stage_index, question.parts, fraction=fraction)

    def _factuals(
        self, question: Question, fraction: float
    ) -> list[tuple[tuple[Advance, ...], Evaluate]]:
        if self._nothing_is_replayed(question):
            return []
        return self._chains(question, _first_executed(question), {}, fraction=fraction)

    def _chains(
        self,
        question: Question,
        first: int,
        interventions: Mapping[int, Intervention],
        *,
        fraction: float,
    ) -> list[tuple[tuple[Advance, ...], Evaluate]]:
        chains = [
            chain_from(
                question.log,
                question.log_digest,
                first,
                interventions=interventions,
                fraction=fraction,
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


def _check(settings: SubsampledReplaySettings, log: StageLog) -> None:
    if settings.fraction == 1:
        return
    require_whole_batches(
        log,
        where="estimator.fraction",
        found=settings.fraction,
        remedy="Use auto without a budget, or retrain; task_vector is free.",
    )
    if settings.resolutions == 1:
        return
    if not has_two_resolutions(settings.fraction, log):
        raise InputError(
            "estimator.fraction",
            expected="a fraction of which half is fewer examples in every stage, and at least two "
            "where Adam steps",
            found=f"{settings.fraction:g} of "
            + ", ".join(str(stage.examples_per_step or 1) for stage in log.stages)
            + " examples a step",
            remedy="Raise the fraction, or set resolutions to 1 and replicas to 2 or more.",
        )


SUBSAMPLED_REPLAY = EstimatorKind(
    settings=SubsampledReplaySettings,
    build=lambda settings: SubsampledReplay(
        fraction=settings.fraction, replicas=settings.replicas, resolutions=settings.resolutions
    ),
    level=2,
    answers="the counterfactual run with the real optimizer on part of every batch, K times",
    cost="K b/B × retraining's examples, as much again for the self-check",
    interval="yes",
    allocates=True,
    exports=True,
    check=_check,
)
