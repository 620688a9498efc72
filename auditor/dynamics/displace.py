"""Task arithmetic: the final parameters without one stage's change of them."""

from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState


def displaced_final_state(run: Run, stage_index: int) -> TrainingState:
    r"""Return the final state with a stage's parameter change subtracted (task vector).

    .. math:: \theta_K - (\theta_{b_t} - R_t(\theta_{a_t}))

    Parameters that the stage adds have moved from their recorded initial values; those that do not
    exist at the end are left out. Buffers and optimizer tensors stay those of the final
    checkpoint: statistics of batches are no task vector. Cost: none. Exact for nothing but the
    last stage.

    Args:
        run: The recorded run.
        stage_index: The stage, from 0.

    References:
        Ilharco et al. (2023), arXiv 2212.04089.
    """
    final = run.boundary(len(run.log.stages))
    layout = run.layout(len(run.log.stages) - 1)
    before = run.boundary_layout(stage_index).unflatten(run.boundary(stage_index).theta)
    after = run.layout(stage_index).unflatten(run.boundary(stage_index + 1).theta)
    initial = {**before, **run.added_values(stage_index)}
    named = layout.unflatten(final.theta)
    moved = {
        name: value - (after[name] - initial[name]) if name in after else value
        for name, value in named.items()
    }
    return TrainingState(theta=layout.flatten(moved), slots=final.slots, buffers=final.buffers)
