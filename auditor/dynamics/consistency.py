"""Does a log agree with itself? Replay what lies between recorded checkpoints and compare."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Literal, final

import torch
from torch import Tensor

from auditor.dynamics.factual import FactualStage, matching
from auditor.dynamics.minibatches import Lane
from auditor.dynamics.progress import OnBlock, Progress
from auditor.dynamics.run import Run
from auditor.dynamics.state import PER_TENSOR_SLOTS, TrainingState, state_tensors
from auditor.dynamics.trajectory import replay
from auditor.model.layout import ParameterLayout
from auditor.plan.actions import SegmentFinding

TOLERANCE_FACTOR = 10.0
"""Tolerance over the deviation of a replay whose start is off by one unit in the last place."""
RESOLVABLE_AMPLIFICATION = 1e4
"""Beyond this growth of a rounding error a replay says nothing about the recorded end."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class _Comparison:
    """One recorded checkpoint against replays from the checkpoint before it.

    ``deviation``, ``tolerance`` are of the kind of tensor that is worst in units of its tolerance.
    """

    deviation: float
    tolerance: float
    amplification: float
    worst: str

    @property
    def verdict(self) -> Literal["consistent", "inconsistent", "not resolvable"]:
        if self.amplification > RESOLVABLE_AMPLIFICATION:
            return "not resolvable"
        return "consistent" if self.deviation <= self.tolerance else "inconsistent"


def check_segment(run: Run, stage_index: int, *, on_block: OnBlock) -> SegmentFinding:
    """Replay a stage between every two neighbouring checkpoints and say how far off it ends.

    Each piece starts from its *recorded* state, runs the recorded batches and hyperparameters, and
    is compared with the next recorded state: parameters, buffers and the optimizer's moments, each
    relative to the largest magnitude of its kind. A second lane starts one unit in the
    last place off; ten times its deviation is what rounding may explain. Where that deviation
    exceeds 1e4 units the piece is not resolvable: record checkpoints more often.

    Cost: two lanes of the stage's steps.

    Args:
        run: The recorded run.
        stage_index: The stage, from 0.
        on_block: Told about every 32 steps.

    Returns:
        The finding on the worst piece, and how many checkpoints were compared.

    Raises:
        NumericalError: If a replay becomes non-finite.
        PreconditionError: If batches, schedule or optimizer state were not recorded.
    """
    stage = run.log.stages[stage_index]
    progress = Progress(total=stage.steps, on_block=on_block)
    comparisons = []
    for start, steps, recorded in _pieces(run, stage_index):
        lanes = [Lane(), Lane()]
        replayed = replay(
            run, stage_index, [start, _perturbed(start)], lanes=lanes, steps=steps, on_block=_quiet
        ).states
        layout = run.layout(stage_index)
        named = [_compared(state, layout) for state in replayed]
        comparisons.append(
            _compare(_compared(recorded, layout), named[0], perturbed=named[1], steps=len(steps))
        )
        progress.add(len(steps))
    progress.finish()
    order = ("consistent", "not resolvable", "inconsistent")
    worst = max(comparisons, key=lambda c: (order.index(c.verdict), c.deviation / c.tolerance))
    return SegmentFinding(
        stage=stage_index,
        checkpoints=len(comparisons),
        deviation=worst.deviation,
        tolerance=worst.tolerance,
        amplification=worst.amplification,
        verdict=worst.verdict,
        worst=worst.worst,
    )


def _pieces(run: Run, stage_index: int) -> Iterator[tuple[TrainingState, range, TrainingState]]:
    """Yield (state, steps from it, recorded state after them) between neighbouring checkpoints."""
    stage = run.log.stages[stage_index]
    state, first = FactualStage(run, stage_index).start(), 0
    for checkpoint in sorted(stage.checkpoints, key=lambda c: c.step):
        end = checkpoint.step - stage.first_step
        if end == first:
            continue
        recorded = run.recorded(checkpoint, boundary=stage_index + 1)
        if checkpoint.optimizer is None:
            yield state, range(first, end), recorded
        else:  # slots that the checkpoint lacks count as zeros, which they then have to be
            recorded = state.replaced(matching(recorded, state))
            yield state, range(first, end), recorded
            state, first = recorded, end


def _perturbed(state: TrainingState) -> TrainingState:
    """Return the state with every parameter moved by one unit in the last place, in turns."""
    theta = state.theta
    signs = torch.ones_like(theta)
    signs[1::2] = -1
    moved = torch.nextafter(theta, signs * torch.inf)
    return TrainingState(theta=moved, slots=state.slots, buffers=state.buffers)


def _compared(state: TrainingState, layout: ParameterLayout) -> dict[str, Tensor]:
    """Return the tensors that are compared: not counts and flags, which follow from the steps."""
    moments = {k: v for k, v in state.slots.items() if k not in PER_TENSOR_SLOTS}
    reduced = TrainingState(theta=state.theta, slots=moments, buffers=state.buffers)
    return state_tensors(reduced, layout)


def _compare(
    truth: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    *,
    perturbed: Mapping[str, Tensor],
    steps: int,
) -> _Comparison:
    """Return the worst kind of tensor, in units of its own tolerance."""
    epsilon = max(torch.finfo(tensor.dtype).eps for tensor in truth.values())
    kinds: dict[str, list[str]] = {}
    for name in truth:
        if name in found:
            kinds.setdefault(_kind(name), []).append(name)
    comparisons = []
    for names in kinds.values():
        scale = max(_largest(tensors[name]) for tensors in (truth, found) for name in names) or 1.0
        off = {name: _largest(found[name] - truth[name]) / scale for name in names}
        spread = max(_largest(found[name] - perturbed[name]) for name in names) / scale
        # Rounding of the steps themselves, should the perturbation have died out.
        floor = epsilon * sqrt(steps)
        worst = max(off, key=lambda name: off[name])
        comparisons.append(
            _Comparison(
                deviation=off[worst],
                tolerance=TOLERANCE_FACTOR * max(spread, floor),
                amplification=spread / epsilon,
                worst=worst.removeprefix("parameters/"),
            )
        )
    return max(comparisons, key=lambda c: c.deviation / c.tolerance)


def _kind(name: str) -> str:
    """Return which tensors are measured by one scale: parameters, buffers, or one slot."""
    parts = name.split("/")
    return "/".join(parts[:2]) if parts[0] == "optimizer" else parts[0]


def _largest(tensor: Tensor) -> float:
    return float(tensor.abs().max()) if tensor.numel() else 0.0


def _quiet(_done: int, _total: int) -> None:
    """Pieces are counted when they are done."""
