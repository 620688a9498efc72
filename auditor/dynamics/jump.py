"""Jumps: displacements carried linearly through the recorded steps of a stage."""

from collections.abc import Sequence

import torch
from torch import Tensor

from auditor.curvature.base import Curvature
from auditor.dynamics.displacement import Twins, displaced_end, displacement
from auditor.dynamics.factual import FactualBlock, FactualStage, matching
from auditor.dynamics.minibatches import Lane
from auditor.dynamics.progress import OnBlock, Progress
from auditor.dynamics.run import Run
from auditor.dynamics.segment_curvature import stage_curvature
from auditor.dynamics.state import TrainingState, stack, unstack
from auditor.dynamics.stepping import TensorFunction, require_finite_state, step_map, unpacked
from auditor.errors import NumericalError
from auditor.plan.check_average import require_no_average
from auditor.plan.curvature import StepCurvature

RUNAWAY = 100.0
"""Times the parameters' norm from which a linear displacement says nothing any more."""


def jump(
    run: Run,
    stage_index: int,
    twins: Sequence[Twins],
    *,
    lane: Lane,
    curvature: StepCurvature,
    on_block: OnBlock,
) -> list[TrainingState]:
    r"""Return the recorded end of a stage, displaced as its steps carry displacements on.

    .. math:: \xi_{b_t} + J_{b_t - 1} \cdots J_{a_t} (R_t \xi' - R_t \xi)

    on the full state: parameters, optimizer tensors, counts and buffers. All displacements go along
    one replay of the recorded steps. Exact where every step is an affine map: a quadratic loss with
    SGD, momentum or Nesterov and the exact curvature. A lane that samples its steps takes their
    Jacobians along a sampled replay; what they end in is still the recorded end plus the
    displacement. Cost: a gradient a step on b of its B examples, and about two more for every
    displacement (none for curvature ``none``). Memory: a state, and a tangent and its activations
    for every displacement.

    Args:
        run: The recorded run.
        stage_index: The stage, from 0.
        twins: Counterfactual and factual states at the boundary before the stage.
        lane: How the steps are sampled; it does not intervene.
        curvature: H in the Jacobian of a step.
        on_block: Told about every 32 steps.

    Returns:
        One state for each pair. Buffers are displaced for the stages that follow; at the end of the
        last stage they are the recorded ones.

    Raises:
        NumericalError: If a displacement diverges or runs away, naming the stage and the steps.

    References:
        Checked in identities/test_jump.py against retraining of quadratic runs and against
        products of Jacobians by central differences.
    """
    require_no_average([run.log.stages[stage_index]])
    factual, stage = FactualStage(run, stage_index, lane=lane), run.log.stages[stage_index]
    state = factual.start()
    moved = [displacement(run, stage_index, start=s, origin=o) for s, o in twins]
    tangents = stack([state.replaced(matching(one, state)) for one in moved])
    h = stage_curvature(run, stage_index, curvature)
    width = len(state.tensors)
    carried = (*state.tensors, *tangents.tensors)
    progress = Progress(total=stage.steps, on_block=on_block)
    for block in factual.blocks(range(stage.steps)):
        of_steps = factual.arguments(block)
        function = factual.traced(
            _jump_step(run, stage_index, block=block, like=state, curvature=h),
            block,
            key=("jump", block.form, h),
            arguments=(*carried, *of_steps[0]),
        )
        for arguments in of_steps:
            carried = function(*carried, *arguments)
        require_finite_state(carried, run=run, stage_index=stage_index, block=block.steps)
        progress.add(len(block.steps))
    progress.finish()
    after = unstack(tangents.replaced(carried[width:]))
    _require_small(run, stage_index, before=moved, after=after)
    return [displaced_end(run, stage_index, displacement=one) for one in after]


def _require_small(
    run: Run, stage_index: int, *, before: list[TrainingState], after: list[TrainingState]
) -> None:
    """Refuse displacements that have become many times as large as the model itself."""
    size = run.boundary(stage_index + 1).theta.norm()
    for one, other in zip(before, after, strict=True):
        limit = RUNAWAY * torch.maximum(size, one.theta.norm())
        if bool(other.theta.norm() > limit):
            stage = run.log.stages[stage_index]
            raise NumericalError(
                f"stages[{stage.name}].steps[{stage.first_step}..{stage.end_step - 1}]",
                expected=f"a displacement below {RUNAWAY:g} times the size of the parameters",
                found=f"{float(other.theta.norm()):.3g}, the parameters being {float(size):.3g}",
                remedy="Carried linearly it runs away: use curvature ggn, or a replay such as "
                "subsampled_replay, which does not linearise.",
            )


def _jump_step(
    run: Run,
    stage_index: int,
    *,
    block: FactualBlock,
    like: TrainingState,
    curvature: Curvature,
) -> TensorFunction:
    """Return (*state, *tangents, *step arguments) -> the next (*state, *tangents)."""
    phi = step_map(run, stage_index, form=block.form, uniform=False, curvature=curvature)
    width = len(like.tensors)

    def step(*arguments: Tensor) -> tuple[Tensor, ...]:
        before, directions = arguments[:width], arguments[width : 2 * width]
        row, batch, _ = unpacked(arguments[2 * width :], gated=False)

        def of_state(*tensors: Tensor) -> tuple[Tensor, ...]:
            return phi(like.replaced(tensors), batch, row).tensors

        def push(*direction: Tensor) -> tuple[Tensor, ...]:
            pushed = torch.func.jvp(of_state, before, direction)
            return (*pushed[0], *pushed[1])

        # The state has no lane axis: one step of it serves all displacements.
        axes = (None,) * width + (0,) * width
        pushed: tuple[Tensor, ...] = torch.func.vmap(
            push,
            out_dims=axes,  # type: ignore[arg-type]  # the annotation forgets None in a tuple
        )(*directions)
        return pushed

    return step
