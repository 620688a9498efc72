"""One recorded state against a replay of it, in units of what rounding may explain."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Literal, final

import torch
from torch import Tensor

from auditor.dynamics.rounding import NoiseMask
from auditor.dynamics.state import PER_TENSOR_SLOTS, TrainingState, state_tensors
from auditor.model.layout import ParameterLayout

TOLERANCE_FACTOR = 10.0
"""Tolerance over the deviation of a replay whose start is off by one unit in the last place."""
RESOLVABLE_AMPLIFICATION = 1e4
"""Beyond this growth of a rounding error a replay says nothing about the recorded end."""

PARAMETERS = "parameters"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One recorded checkpoint against replays from the checkpoint before it.

    Attributes:
        steps: The replayed steps, by their global numbers.
        deviation: Of the kind of tensor that is worst in units of its tolerance, relative to the
            largest magnitude of that kind.
        tolerance: Of the same kind.
        amplification: How many units one unit in the last place became.
        worst: The tensor that is farthest off.
        resolution: Tolerance of the parameters.
        moved: How far the parameters went, relative to the largest.
        left_out: Coordinates that only rounding moves.
    """

    steps: range
    deviation: float
    tolerance: float
    amplification: float
    worst: str
    resolution: float
    moved: float
    left_out: int

    @property
    def verdict(self) -> Literal["consistent", "inconsistent", "not resolvable"]:
        """What the replay says about the checkpoint."""
        if self.amplification > RESOLVABLE_AMPLIFICATION:
            return "not resolvable"
        return "consistent" if self.deviation <= self.tolerance else "inconsistent"

    @property
    def detectable_update(self) -> float | None:
        """The part of one average step's update whose change exceeds the tolerance.

        None where nothing moved: then no change of the steps shows.
        """
        if self.moved == 0.0:
            return None
        return self.resolution * len(self.steps) / self.moved


def compare(
    recorded: TrainingState,
    replayed: TrainingState,
    *,
    perturbed: TrainingState,
    start: TrainingState,
    layout: ParameterLayout,
    steps: range,
    noise: NoiseMask | None,
    autocast: float = 0.0,
) -> Comparison:
    """Return how far a replay ended from a checkpoint.

    Args:
        recorded: The checkpoint.
        replayed: The end of the replay.
        perturbed: The end of the replay that started one unit in the last place off.
        start: Where the replay started.
        layout: Of all four.
        steps: The replayed steps, by their global numbers.
        noise: Coordinates that are bounded, not compared.
        autocast: Machine epsilon of the lower precision of an autocast stage, whose gradients are
            rounded to it: another order of the same sums is that far off, in every step.
    """
    left_out = None if noise is None else noise.within_reach
    truth, found, begin = (
        _compared(state, layout, without=left_out) for state in (recorded, replayed, start)
    )
    spreads = _spreads(replayed, perturbed, layout, without=None if noise is None else noise.moved)
    epsilon = max(torch.finfo(tensor.dtype).eps for tensor in truth.values())
    # Rounding of the steps themselves, should the perturbation have died out.
    floor = epsilon * sqrt(len(steps))
    worst = (-1.0, "", 0.0, 1.0, 0.0)
    resolution = moved = 0.0
    for kind, names in _kinds(truth, found).items():
        scale = max(_largest(tensors[name]) for tensors in (truth, found) for name in names) or 1.0
        off = {name: _largest(found[name] - truth[name]) / scale for name in names}
        spread = max(spreads[name] for name in names) / scale
        way = max(_largest(truth[name] - begin[name]) for name in names) / scale
        rounded = autocast * (way if kind == PARAMETERS else 1.0)
        tolerance = TOLERANCE_FACTOR * max(spread, floor, rounded)
        name = max(off, key=lambda name: off[name])
        grown = spread / max(epsilon, rounded)
        worst = max(worst, (off[name] / tolerance, name, off[name], tolerance, grown))
        if kind == PARAMETERS:
            resolution, moved = tolerance, way
    return Comparison(
        steps=steps,
        deviation=worst[2],
        tolerance=worst[3],
        amplification=worst[4],
        worst=worst[1].removeprefix("parameters/"),
        resolution=resolution,
        moved=moved,
        left_out=0 if left_out is None else int(left_out.sum()),
    )


def _compared(
    state: TrainingState, layout: ParameterLayout, *, without: Tensor | None
) -> dict[str, Tensor]:
    """Return the tensors that are compared: not counts and flags, which follow from the steps."""
    moments = {k: v for k, v in state.slots.items() if k not in PER_TENSOR_SLOTS}
    theta = state.theta if without is None else torch.where(without, 0.0, state.theta)
    return state_tensors(TrainingState(theta=theta, slots=moments, buffers=state.buffers), layout)


def _spreads(
    first: TrainingState,
    second: TrainingState,
    layout: ParameterLayout,
    *,
    without: Tensor | None,
) -> dict[str, float]:
    """Return by name how far apart two replays are."""
    own, other = (_compared(state, layout, without=without) for state in (first, second))
    return {name: _largest(tensor - other[name]) for name, tensor in own.items()}


def _kinds(truth: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Return the names by kind: parameters, buffers, or one slot share a scale."""
    kinds: dict[str, list[str]] = {}
    for name in truth:
        parts = name.split("/")
        kind = "/".join(parts[:2]) if parts[0] == "optimizer" else parts[0]
        if name in found:
            kinds.setdefault(kind, []).append(name)
    return kinds


def _largest(tensor: Tensor) -> float:
    return float(tensor.abs().max()) if tensor.numel() else 0.0
