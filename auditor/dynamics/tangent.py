"""AA-Score, tangent form: one embedding a stage, whatever is asked afterwards."""

import torch
from torch import Tensor

from auditor.curvature.base import Curvature
from auditor.dynamics.factual import FactualBlock, FactualStage, matching
from auditor.dynamics.interventions import window
from auditor.dynamics.minibatches import Lane
from auditor.dynamics.progress import OnBlock, Progress
from auditor.dynamics.run import Run
from auditor.dynamics.segment_curvature import stage_curvature
from auditor.dynamics.state import TrainingState
from auditor.dynamics.stepping import (
    TensorFunction,
    require_finite_state,
    step_map,
    unpacked,
)
from auditor.dynamics.trajectory import replay
from auditor.dynamics.transitions import TransitionMap
from auditor.errors import UnsupportedError
from auditor.plan.check_average import require_no_average
from auditor.plan.curvature import StepCurvature
from auditor.plan.request import Intervention


def stage_embedding(
    run: Run, intervention: Intervention, *, curvature: StepCurvature, on_block: OnBlock
) -> TrainingState:
    r"""Return the derivative of the final state by the gate of an intervention's steps.

    .. math:: e = \frac{d \xi_K}{d \alpha}\Big|_{\alpha = 1}
        = \sum_{k \in \text{window}} J_{K-1} \cdots J_{k+1} (\xi_{k+1} - \xi_k)

    with J_k = dPhi_k / dxi by automatic differentiation and dR_t at the boundaries. A query's
    AA-Score is the product of its gradient with e; a fade to alpha is (1 - alpha) times that, to
    first order. Cost: at most five gradients for every step from the window's first on. Memory:
    two states and twice the activations.

    Args:
        run: The recorded run.
        intervention: ``skip`` or ``fade`` of a stage or a window of its steps.
        curvature: H in the Jacobian of a step: ``exact`` (Hessian-vector products), ``ggn``
            (Gauss-Newton), an EK-FAC of every stage, or ``none`` (gradients held constant).
        on_block: Told about every 32 steps.

    Returns:
        A tangent in the final layout: theta, optimizer tensors and buffers.

    Raises:
        UnsupportedError: If the intervention is of another kind.
        NumericalError: If the embedding diverges.

    References:
        "Who Gets Credit or Blame?" (2025), arXiv 2506.00175; checked in identities/test_aa_score.py
        against the adjoint form and central differences of gated retraining.
    """
    require_gate(intervention)
    first_stage = run.stage_index(intervention.stage)
    stage = run.log.stages[first_stage]
    first, end = window(stage, intervention)
    later = range(first_stage, len(run.log.stages))
    require_no_average(run.log.stages[first_stage:])
    total = sum(run.log.stages[index].steps for index in later) - first
    progress = Progress(total=total, on_block=on_block)

    tangent = zeros_like(run.boundary(first_stage))
    for index in later:
        factual = FactualStage(run, index)
        state = factual.start()
        tangent = linear_part(run.transition(index), run.boundary(index), tangent)
        steps = range(first if index == first_stage else 0, run.log.stages[index].steps)
        inside = range(first, end) if index == first_stage else range(0)
        if steps.start > 0:
            state = replay(
                run, index, [state], lanes=[Lane()], steps=range(steps.start), on_block=_quiet
            ).states[0]
        for block in factual.blocks(steps):
            state, tangent = _push(
                run, index, block, factual=factual, at=(state, tangent), curvature=curvature,
                inside=inside,
            )  # fmt: skip
            progress.add(len(block.steps))
    progress.finish()
    return tangent


def _push(
    run: Run,
    stage_index: int,
    block: FactualBlock,
    *,
    factual: FactualStage,
    at: tuple[TrainingState, TrainingState],
    curvature: StepCurvature,
    inside: range,
) -> tuple[TrainingState, TrainingState]:
    """Return state and tangent after a block of recorded steps."""
    state, tangent = at
    width = len(state.tensors)
    flags = [state.theta.new_tensor(float(step in inside)) for step in block.steps]
    carried = (*state.tensors, *matching(tangent, state))
    of_steps = factual.arguments(block)
    h = stage_curvature(run, stage_index, curvature)
    function = factual.traced(
        _tangent_step(run, stage_index, block=block, like=state, curvature=h),
        block,
        key=("tangent", block.form, h),
        arguments=(*carried, *of_steps[0], flags[0]),
    )
    for arguments, flag in zip(of_steps, flags, strict=True):
        carried = function(*carried, *arguments, flag)
    require_finite_state(carried, run=run, stage_index=stage_index, block=block.steps)
    return state.replaced(carried[:width]), state.replaced(carried[width:])


def _tangent_step(
    run: Run,
    stage_index: int,
    *,
    block: FactualBlock,
    like: TrainingState,
    curvature: Curvature,
) -> TensorFunction:
    """Return (*state, *tangent, *step arguments, inside) -> the next (*state, *tangent)."""
    phi = step_map(run, stage_index, form=block.form, uniform=False, curvature=curvature)
    width = len(like.tensors)

    def step(*arguments: Tensor) -> tuple[Tensor, ...]:
        before, direction = arguments[:width], arguments[width : 2 * width]
        row, batch, _ = unpacked(arguments[2 * width : -1], gated=False)
        inside = arguments[-1]

        def of_state(*tensors: Tensor) -> tuple[Tensor, ...]:
            return phi(like.replaced(tensors), batch, row).tensors

        pushed = torch.func.jvp(of_state, before, direction)
        after, moved = pushed[0], pushed[1]
        # The gate's own derivative: inside the window alpha scales xi_{k+1} - xi_k.
        source = (inside * (b - a) for a, b in zip(before, after, strict=True))
        return (*after, *(m + s for m, s in zip(moved, source, strict=True)))

    return step


def linear_part(
    transition: TransitionMap, state: TrainingState, tangent: TrainingState
) -> TrainingState:
    """Return dR_t applied to a tangent of the state before the stage."""
    after = transition(state)

    def of_state(*tensors: Tensor) -> tuple[Tensor, ...]:
        return transition(state.replaced(tensors)).tensors

    pushed = torch.func.jvp(of_state, state.tensors, matching(tangent, state))
    return after.replaced(pushed[1])


def zeros_like(state: TrainingState) -> TrainingState:
    """Return the zero tangent of a state."""
    return state.replaced([torch.zeros_like(tensor) for tensor in state.tensors])


def require_gate(intervention: Intervention) -> None:
    """Refuse interventions that are no gate.

    Raises:
        UnsupportedError: If the kind is neither ``skip`` nor ``fade``.
    """
    if intervention.kind not in {"skip", "fade"}:
        raise UnsupportedError(
            "intervention.kind",
            expected="skip or fade, which have a derivative by alpha",
            found=intervention.kind,
            remedy="Use retrain or subsampled_replay for this intervention.",
        )


def _quiet(_done: int, _total: int) -> None:
    """Steps before the window are no part of the embedding."""
