"""Task arithmetic: the final parameters without some stages' changes of them."""

from collections.abc import Sequence

from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState


def displaced_final_state(run: Run, stages: Sequence[int]) -> TrainingState:
    r"""Return the final state with stages' parameter changes subtracted (task vector).

    .. math:: \theta_K - \sum_t (\theta_{b_t} - R_t(\theta_{a_t}))

    Parameters that a stage adds have moved from their recorded initial values; those that do not
    exist at the end are left out. Buffers and optimizer tensors stay those of the final
    checkpoint: statistics of batches are no task vector. Cost: none. Exact for nothing but the
    last stage.

    Args:
        run: The recorded run.
        stages: The stages, from 0.

    References:
        Ilharco et al. (2023), arXiv 2212.04089.
    """
    final = run.boundary(len(run.log.stages))
    layout = run.layout(len(run.log.stages) - 1)
    named = layout.unflatten(final.theta)
    for stage in stages:
        before = run.boundary_layout(stage).unflatten(run.boundary(stage).theta)
        after = run.layout(stage).unflatten(run.boundary(stage + 1).theta)
        transition = run.log.stages[stage].transition
        new_names = transition.new_names
        initial = {new_names.get(name, name): value for name, value in before.items()}
        initial |= run.added_values(stage)
        moved = {_final_name(run, stage, name): after[name] - initial[name] for name in after}
        named = {
            name: value - moved[name] if name in moved else value for name, value in named.items()
        }
    return TrainingState(theta=layout.flatten(named), slots=final.slots, buffers=final.buffers)


def _final_name(run: Run, stage: int, name: str) -> str | None:
    """Return what a stage's tensor is called in the final model; None if it was removed."""
    for later in run.log.stages[stage + 1 :]:
        if name in later.transition.removed:
            return None
        name = later.transition.new_names.get(name, name)
    return name
