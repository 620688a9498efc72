"""How an effect varies over batch orders (E2) and over reruns of the pipeline (E3).

Both are spreads of *paired* effects: the factual and the counterfactual run share the order of
every stage, and the sub-samples. Orders are numbered from 1; 0 is the recorded one.

- ``order``: the later stages in another order, from where the recorded run was before the
  intervention.
- ``rerun``: every stage in another order, from the recorded initial state. Another initialisation
  is not included.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from auditor.estimators.base import Floats, Question, Values
from auditor.estimators.retrain import RetrainSettings
from auditor.estimators.subsampled_replay import SubsampledReplaySettings
from auditor.estimators.whole_batches import needs_whole_batches
from auditor.plan.actions import ActionSpec, Advance, Evaluate
from auditor.plan.chains import chain_from, end_of
from auditor.plan.request import Intervention
from auditor.plan.settings import NOISE_FRACTION, NOISE_ORDERS, NOISE_REPLICAS, EstimatorSettings
from auditor.stagelog.log import StageLog

NoiseKind = Literal["order", "rerun"]


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseSample:
    """Paired mean effects of one question.

    Args:
        orders: One an order, [O].
        fixed: One a replica in the recorded order, [K]; empty where replays use all examples.
    """

    orders: Floats
    fixed: Floats

    def minus(self, other: "NoiseSample") -> "NoiseSample":
        """Return the paired difference (treated minus control of a probe)."""
        return NoiseSample(orders=self.orders - other.orders, fixed=self.fixed - other.fixed)


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseSpread:
    """A standard deviation over orders.

    Attributes:
        sd: Without what the sub-samples of the replays themselves add.
        total: With it.
        orders: Over how many orders.
        resolved: False where the sub-samples alone vary as much: ``sd`` is then 0, and only known
            to be small against ``total``.
    """

    sd: float
    total: float
    orders: int
    resolved: bool


def noise_spread(sample: NoiseSample) -> NoiseSpread:
    r"""Return the spread over orders, corrected for the replays' own sub-sampling.

    .. math:: sd^2 = \max(0, s_{orders}^2 - s_{fixed}^2)

    Every order has a sub-sample of its own, so the first variance is that over orders plus that
    over sub-samples, and the second measures the latter in the recorded order. For ``rerun`` the
    second knows the later stages only, so that what is left is, if anything, too large.
    """
    total = float(np.var(sample.orders, ddof=1))
    own = float(np.var(sample.fixed, ddof=1)) if len(sample.fixed) > 1 else 0.0
    return NoiseSpread(
        sd=float(np.sqrt(max(0.0, total - own))),
        total=float(np.sqrt(total)),
        orders=len(sample.orders),
        resolved=total == 0 or total > own,
    )


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """Replays in other orders, on ``fraction`` b / B of each step's examples.

    Cost: ``orders`` times b / B of what retraining costs, for the counterfactual and as much for
    the factual run, which all questions share; ``replicas`` more in the recorded order, which are
    those of ``subsampled_replay`` where that is the estimator.
    """

    kind: NoiseKind
    fraction: float
    replicas: int
    orders: int

    def actions(self, question: Question) -> tuple[ActionSpec, ...]:
        """Return the actions whose results :meth:`sample` reads, dependencies first."""
        pairs = (*self._in_orders(question), *self._fixed(question))
        runs = [run for pair in pairs for run in pair]
        needed: list[ActionSpec] = []
        for chain, end in runs:
            needed += [*chain, end]
        return tuple(needed)

    def sample(self, question: Question, values: Values) -> NoiseSample:
        """Return the paired mean effects.

        Raises:
            NumericalError: If a replay diverges.
        """

        def effect(pair: "_Pair") -> float:
            (_, factual), (_, counterfactual) = pair
            difference = values.per_example(factual) - values.per_example(counterfactual)
            return float(difference.mean())

        return NoiseSample(
            orders=np.array([effect(pair) for pair in self._in_orders(question)]),
            fixed=np.array([effect(pair) for pair in self._fixed(question)]),
        )

    def _in_orders(self, question: Question) -> Iterator["_Pair"]:
        for order in range(1, self.orders + 1):
            if self.kind == "rerun":
                stages = range(len(question.log.stages))
                starts = (0, 0)
            else:
                # The intervened stage itself keeps its order: E2 is about the later ones.
                stages = range(question.stage_index + 1, len(question.log.stages))
                starts = (question.first_executed, question.stage_index)
            orders = dict.fromkeys(stages, order)
            yield self._pair(question, starts=starts, orders=orders, replica=order - 1)

    def _fixed(self, question: Question) -> Iterator["_Pair"]:
        if self.fraction == 1.0:
            return
        starts = (question.first_executed, question.stage_index)
        for replica in range(self.replicas):
            yield self._pair(question, starts=starts, orders={}, replica=replica)

    def _pair(
        self,
        question: Question,
        *,
        starts: tuple[int, int],
        orders: Mapping[int, int],
        replica: int,
    ) -> "_Pair":
        def run(first: int, interventions: Mapping[int, Intervention]) -> "_Run":
            chain = chain_from(
                question.log,
                question.log_digest,
                first,
                interventions=interventions,
                fraction=self.fraction,
                replica=replica,
                seed=question.seed,
                orders=orders,
            )
            return chain, question.evaluate(end_of(chain, question.log))

        return run(starts[0], {}), run(starts[1], question.parts)


_Run = tuple[tuple[Advance, ...], Evaluate]
_Pair = tuple[_Run, _Run]
"""A factual and a counterfactual run: advances, and the evaluation at their end."""


def noise_for(kind: NoiseKind, settings: EstimatorSettings, log: StageLog) -> Noise:
    """Return the replays that measure noise beside an estimator with resolved settings.

    They are as exact as a replay that is the estimator, so that both share the runs in the recorded
    order; other estimators have a fraction of their own. A log that needs whole batches gets them.
    """
    fraction, replicas = NOISE_FRACTION, NOISE_REPLICAS
    match settings:
        case RetrainSettings():
            fraction = 1.0
        case SubsampledReplaySettings():
            fraction, replicas = settings.fraction, max(settings.replicas, NOISE_REPLICAS)
        case _:
            pass
    if needs_whole_batches(log):
        fraction = 1.0
    return Noise(kind=kind, fraction=fraction, replicas=replicas, orders=NOISE_ORDERS)
