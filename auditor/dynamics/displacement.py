"""Displacements: how far a counterfactual state is from its factual twin."""

from dataclasses import replace

from auditor.dynamics.factual import matching
from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState

Twins = tuple[TrainingState, TrainingState]
"""A counterfactual state and its factual twin, at the same boundary."""


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


def displaced_end(run: Run, stage_index: int, *, displacement: TrainingState) -> TrainingState:
    """Return the recorded end of a stage plus a displacement; see :func:`displacement`.

    At the end of the last stage buffers stay as recorded: statistics of batches plus a displacement
    may be none, a negative variance for one (decisions, 6).
    """
    end = run.boundary(stage_index + 1)
    base = displacement.replaced(matching(end, displacement))
    moved = base.replaced([
        a + b for a, b in zip(base.tensors, displacement.tensors, strict=True)
    ])  # fmt: skip
    last = stage_index == len(run.log.stages) - 1
    return replace(moved, buffers=base.buffers) if last else moved
