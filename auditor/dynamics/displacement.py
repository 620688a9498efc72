"""Displacements: how far a counterfactual state is from its factual twin."""

from auditor.dynamics.factual import matching
from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState


def displacement(
    run: Run, stage_index: int, *, start: TrainingState, origin: TrainingState
) -> TrainingState:
    r"""Return the displacement of two boundary states after the stage's transition.

    .. math:: d = R_t(\xi') - R_t(\xi)

    R_t is affine, so this is its linear part applied to the difference: parameters that the stage
    adds are displaced by nothing, a reset leaves no displacement of the optimizer.

    Args:
        run: The recorded run.
        stage_index: The stage, from 0.
        start: The counterfactual state xi', in the layout of the boundary before the stage.
        origin: Its factual twin xi, likewise.

    Returns:
        A tangent in the stage's layout, in the structure of the twin after R_t.
    """
    transition = run.transition(stage_index)
    twin = transition(origin)
    moved = matching(transition(start), twin)
    return twin.replaced([a - b for a, b in zip(moved, twin.tensors, strict=True)])
