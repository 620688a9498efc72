"""Coordinates that Adam moves by rounding noise alone, where a replay cannot follow a training."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from auditor.dynamics.heat import SECOND
from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState
from auditor.stagelog.precision import lower_precision

FIRST = "exp_avg"

NOISE_FACTOR = 1e3
"""A gradient below so many machine epsilons of the model's largest may be rounding."""
DISAGREEMENT = 1e-2
"""It is rounding where a start one unit in the last place off changes it by more than this part."""


AUTOCAST_FACTOR = 4.0
"""The same in epsilons of the lower precision, to which autocast rounds every activation."""


def autocast_epsilon(precision: str) -> float:
    """Return the machine epsilon of what autocast casts to; 0 in a stage without it."""
    lower = lower_precision(precision)
    return 0.0 if lower is None else float(torch.finfo(getattr(torch, lower)).eps)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseMask:
    """Coordinates that only rounding moves, [P] bool each.

    Attributes:
        moved: All of them; they say nothing about how the stage amplifies rounding.
        within_reach: Those that ended no farther off than Adam could carry them.
    """

    moved: Tensor
    within_reach: Tensor


@final
class RoundingNoise:
    """Finds coordinates whose gradient is zero in exact arithmetic: noise is all they have.

    Such as the bias of attention keys, or a bias before a normalisation. What floating point leaves
    of such a gradient means nothing, but Adam divides every gradient by its own running size: with
    eps small beside it, noise moves the coordinate as fast as a real gradient would. Two honest
    executions then differ there by up to the sum of the steps, in a direction that does not change
    the model's function. Those coordinates are not compared to the tolerance but bounded by the
    farthest that Adam can carry them.

    Args:
        run: The recorded run.
        stage_index: The stage, from 0.
    """

    def __init__(self, run: Run, stage_index: int) -> None:
        self._schedule = run.schedule(stage_index)
        self._autocast = AUTOCAST_FACTOR * autocast_epsilon(run.log.stages[stage_index].precision)

    def coordinates(
        self,
        recorded: TrainingState,
        replayed: TrainingState,
        *,
        perturbed: TrainingState,
        steps: range,
    ) -> NoiseMask | None:
        """Return which coordinates of theta are moved by noise; None if none is.

        Both must hold: the running root mean square of the gradient is below 1e3 epsilons of the
        largest in the model (under autocast 4 of the lower precision's), in the recorded and in
        the replayed state; and the first moments of
        two executions differ by more than 1 % of it.

        Args:
            recorded: The checkpoint.
            replayed: The end of the replay.
            perturbed: The end of the replay that started one unit in the last place off.
            steps: The steps, counted from the stage's first.
        """
        states = (recorded, replayed, perturbed)
        if any(slot not in state.slots for slot in (FIRST, SECOND) for state in states):
            return None
        root = torch.maximum(recorded.slots[SECOND], replayed.slots[SECOND]).sqrt()
        if not root.numel():
            return None
        epsilons = max(NOISE_FACTOR * torch.finfo(root.dtype).eps, self._autocast)
        limit = epsilons * root.max()
        first = replayed.slots[FIRST]
        apart = torch.maximum(
            (first - perturbed.slots[FIRST]).abs(), (first - recorded.slots[FIRST]).abs()
        )
        noise = (root <= limit) & (apart > DISAGREEMENT * root)
        within = (recorded.theta - replayed.theta).abs() <= self._reach(steps)
        return NoiseMask(moved=noise, within_reach=noise & within) if bool(noise.any()) else None

    def _reach(self, steps: range) -> float:
        """Return how far apart two executions can carry one coordinate.

        A step moves it by at most lr max(1, (1 - beta1) / sqrt(1 - beta2)); Kingma and Ba (2015),
        section 2.1.
        """
        columns = {
            name: self._schedule.columns[name][steps.start : steps.stop]
            for name in ("lr", "beta1", "beta2")
        }
        largest = (1 - columns["beta1"]) / (1 - columns["beta2"]).clip(min=1e-12) ** 0.5
        return 2 * float((columns["lr"] * largest.clip(min=1.0)).max(axis=1).sum())
