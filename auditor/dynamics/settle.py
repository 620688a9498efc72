"""Settling: only the end of a stage is run again, from its recorded end plus a displacement."""

from collections.abc import Sequence

import torch

from auditor.dynamics.displacement import Twins, displacement
from auditor.dynamics.minibatches import Lane
from auditor.dynamics.progress import OnBlock
from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState
from auditor.dynamics.trajectory import replay
from auditor.model.preferences import REFERENCE
from auditor.plan.check_average import require_no_average


def tail_steps(steps: int, *, tail: float) -> int:
    """Return max(1, round(tail * steps)): how many of a stage's steps are run."""
    return max(1, round(tail * steps))


def settle(
    run: Run,
    stage_index: int,
    twins: Sequence[Twins],
    *,
    lanes: Sequence[Lane],
    tail: float,
    on_block: OnBlock,
) -> list[TrainingState]:
    r"""Carry displacements through a stage by running the last of its steps.

    .. math:: \theta_{b_t} + (R_t \theta' - R_t \theta) \to \Phi_{b_t - 1} \cdots \Phi_{b_t - n}

    What the stage taught the factual run is kept, and the displacement relaxes as the stage's own
    loss, schedule and optimizer let it. A displacement of nothing gives the factual twin that the
    next stage's displacement is taken from.

    The displacement acts on the parameters alone; optimizer tensors and buffers start as recorded
    at the end of the stage. Both forget within some steps, so that what a displaced momentum or
    second moment was before the stage says nothing of its end; and a second moment plus a
    displacement of an earlier one may be negative. Cost: one gradient on b examples for each of
    the n steps run. Exact for nothing.

    Args:
        run: The recorded run.
        stage_index: The stage, from 0.
        twins: A counterfactual and a factual state at the boundary before the stage, one a lane.
        lanes: How each lane's gradients are sampled; none intervenes.
        tail: Part of the stage's steps that are run, in (0, 1].
        on_block: Told about every 32 steps.

    Raises:
        NumericalError: If a state becomes non-finite, naming the stage and the steps.
    """
    require_no_average([run.log.stages[stage_index]])
    stage, end = run.log.stages[stage_index], run.boundary(stage_index + 1)
    needed = run.transition(stage_index)(run.boundary(stage_index)).slots
    slots = {slot: end.slots.get(slot, torch.zeros_like(values)) for slot, values in needed.items()}
    starts = []
    for start, origin in twins:
        moved = displacement(run, stage_index, start=start, origin=origin)
        own = dict(slots)
        if REFERENCE in own:
            own[REFERENCE] = own[REFERENCE] + moved.slots[REFERENCE]
        starts.append(TrainingState(theta=end.theta + moved.theta, slots=own, buffers=end.buffers))
    first = stage.steps - tail_steps(stage.steps, tail=tail)
    advanced = replay(
        run, stage_index, starts, lanes=lanes, steps=range(first, stage.steps), on_block=on_block
    )
    return advanced.states
