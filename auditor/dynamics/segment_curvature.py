"""EK-FAC of a recorded stage: its curvature at one state, from some of its own examples."""

from collections.abc import Sequence
from typing import assert_never

import numpy as np
import torch
from torch import Tensor

from auditor.curvature.base import Curvature
from auditor.curvature.ekfac import EigenCurvature, ekfac
from auditor.curvature.exact import ExactCurvature
from auditor.curvature.ggn import GgnCurvature
from auditor.curvature.none import NoCurvature
from auditor.curvature.sample import CurvatureSample, output_directions
from auditor.curvature.segment import SegmentCurvature
from auditor.dynamics.draws import generator_for
from auditor.dynamics.minibatches import Lane, StageBatches
from auditor.dynamics.run import Run
from auditor.dynamics.stage_examples import recorded_examples
from auditor.dynamics.state import TrainingState, forward_buffers
from auditor.errors import PreconditionError, UnsupportedError
from auditor.model.objective import GraphObjective, Minibatch
from auditor.plan.check_loss_scale import require_no_scaler
from auditor.plan.curvature import SampledCurvature, StepCurvature
from auditor.plan.sampling import used_examples


def ekfac_of(
    run: Run, stage_index: int, state: TrainingState, *, examples: int, seed: int
) -> EigenCurvature:
    """Return the curvature of a stage's mean step at a state: EK-FAC of the mean of its losses.

    Normalised as the steps are: it is the curvature of ``sum_i w_i l_i / denominator``, averaged
    over steps, undamped, without weight decay. Whole recorded minibatches are drawn without
    replacement until ``examples`` are reached; a batch that is larger alone is sub-sampled. The
    same arguments give the same curvature.

    Args:
        run: The recorded run.
        stage_index: The stage, whose graph, loss and trainable parameters are used.
        state: Where, in the stage's layout, such as ``run.boundary(stage_index + 1)``.
        examples: How many at most; at least 1.
        seed: Drives which, and random signs where outputs have many entries.

    Raises:
        PreconditionError: If the stage has no steps.
        UnsupportedError: If the objective is no recorded graph, weights are negative, or
            examples interact.
    """
    objective = run.objective(stage_index)
    stage = run.log.stages[stage_index]
    where = f"stages[{stage.name}]"
    if not isinstance(objective, GraphObjective):
        raise UnsupportedError(
            where,
            expected="an objective from a recorded graph, which shows where weights are used",
            found=type(objective).__name__,
            remedy="Use curvature ggn, exact or none.",
        )
    if not stage.steps:
        raise PreconditionError(
            where,
            expected="at least one step",
            found="none",
            remedy="A stage without steps has no curvature; leave it out.",
        )
    drawn = _minibatches(run, stage_index, examples=examples, seed=seed)
    buffers = forward_buffers(state, run.constants(stage_index))
    output, _ = objective.output(state.theta, buffers, _first(drawn[0]))
    factors = torch.cat([m.weights / (m.denominator * len(drawn)) for m in drawn])
    if bool((factors < 0).any()):
        raise UnsupportedError(
            f"{where}.weights",
            expected="no negative weight, for which curvature has no square root",
            found=factors.min().item(),
            remedy="Use curvature exact or none.",
        )

    def signs(shape: tuple[int, ...]) -> Tensor:
        generator = generator_for("curvature directions", seed, run.log_digest, stage_index)
        return torch.from_numpy(generator.integers(0, 2, shape) * 2 - 1)

    directions = output_directions(
        (len(factors), *output.shape[1:]), like=output.detach(), draw=signs
    )
    return ekfac(
        objective,
        state.theta,
        buffers,
        sample=CurvatureSample(
            inputs=tuple(torch.cat(c) for c in zip(*(m.inputs for m in drawn), strict=True)),
            target=torch.cat([m.target for m in drawn]),
            factors=factors,
            directions=directions,
        ),
        trainable=frozenset(name for group in stage.groups for name in group.parameters),
    )


def stage_ekfac(run: Run, stage_index: int, *, examples: int, seed: int) -> SegmentCurvature:
    """Return :func:`ekfac_of` at the stage's recorded end, computed once.

    Raises:
        UnsupportedError: If a gradient scaler trained the stage: its scales are not used here.
    """
    require_no_scaler(run.log.stages[stage_index])

    def make() -> SegmentCurvature:
        end = run.boundary(stage_index + 1)
        return SegmentCurvature(ekfac_of(run, stage_index, end, examples=examples, seed=seed))

    return run.keep(("ekfac", stage_index, examples, seed), make)


def stage_curvature(run: Run, stage_index: int, curvature: StepCurvature) -> Curvature:
    """Return what H is in the Jacobians of a stage's steps; the same object for the same one."""
    match curvature:
        case SampledCurvature(examples=examples, seed=seed):
            return stage_ekfac(run, stage_index, examples=examples, seed=seed)
        case "exact":
            return ExactCurvature()
        case "ggn":
            return GgnCurvature()
        case "none":
            return NoCurvature()
        case _:
            assert_never(curvature)


def _minibatches(run: Run, stage_index: int, *, examples: int, seed: int) -> Sequence[Minibatch]:
    """Return the recorded minibatches that are used, in order of their steps."""
    sizes = np.diff(recorded_examples(run, stage_index).offsets)
    fraction = min(1.0, examples / int(sizes.max()))
    lane = Lane(fraction=fraction, seed=seed)
    used = np.array([used_examples(n, fraction=fraction) for n in sizes.tolist()])
    draw = generator_for("curvature examples", seed, run.log_digest, stage_index)
    order = np.argsort(draw.random(len(used)), kind="stable")
    count = max(1, int((np.cumsum(used[order]) <= examples).sum()))
    batches = StageBatches(run, stage_index, lanes=[lane])
    return [_minibatch(batches, int(step)) for step in np.sort(order[:count])]


def _minibatch(batches: StageBatches, step: int) -> Minibatch:
    block = batches.block(step, step + 1, lanes=(0,))
    return Minibatch(
        inputs=tuple(tensor[0] for tensor in block.inputs),
        target=block.target[0],
        weights=block.weights[0],
        denominator=block.denominator[0],
    )


def _first(batch: Minibatch) -> Minibatch:
    """Return a minibatch of the first example, from which the output's shape is read."""
    return Minibatch(
        inputs=tuple(tensor[:1] for tensor in batch.inputs),
        target=batch.target[:1],
        weights=batch.weights[:1],
        denominator=batch.denominator,
    )
