"""Coarse advances: the optimizer's own steps, one gradient a block, a local model in between."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, final

import numpy as np

from auditor.curvature.segment import SegmentCurvature
from auditor.dynamics.changes import intervened_hyperparameters
from auditor.dynamics.coarse_span import CoarseSpan
from auditor.dynamics.hyperparameters import Hyperparameters
from auditor.dynamics.interventions import gates
from auditor.dynamics.minibatches import Lane, StageBatches
from auditor.dynamics.progress import OnBlock, Progress
from auditor.dynamics.run import Run
from auditor.dynamics.segment_curvature import stage_ekfac
from auditor.dynamics.spans import spans_of, together
from auditor.dynamics.state import TrainingState, stack, unstack, with_slots
from auditor.plan.check_average import require_no_average
from auditor.plan.check_loss_scale import require_no_scaler
from auditor.plan.curvature import SampledCurvature
from auditor.stagelog.log import Stage

LocalCurvature = Literal["none"] | SampledCurvature


def coarse_advance(
    run: Run,
    stage_index: int,
    states: Sequence[TrainingState],
    *,
    lanes: Sequence[Lane],
    block_steps: int,
    curvature: LocalCurvature,
    on_block: OnBlock,
) -> list[TrainingState]:
    r"""Carry boundary states through a stage with one gradient for each block of c steps.

    .. math:: g_k = g(\theta_{block}) + H (\theta_k - \theta_{block})

    stands for every gradient of a block; every step is the optimizer's arithmetic with the recorded
    hyperparameters, gates and weight decay. g is a mean over m of the block's c B examples; Adam's
    second moment also gets the variance that the steps' own gradients would have had
    (:class:`~auditor.dynamics.block_gradient.BlockGradient`). Blocks do not reach over changes of
    the batch size, of the arithmetic's form or of which lanes move. Buffers move once a block, as
    by its first step. With c = 1 and all examples this is
    :func:`~auditor.dynamics.trajectory.advance` to rounding. Cost: m / (c B) of the examples,
    1 / c of the sequential gradients. Memory: as there, and chunks of the gradient for Adam.

    Large c at the edge of stability diverges where the real steps would turn back.

    Args:
        run: The recorded run.
        stage_index: The stage, from 0.
        states: One a lane, in the layout of the boundary before the stage.
        lanes: What each changes; ``fraction`` is m / (c B), the same for all.
        block_steps: c, at least 1.
        curvature: H: ``none``, or the stage's EK-FAC at its recorded end.
        on_block: Told about every 32 steps.

    Raises:
        NumericalError: If a state becomes non-finite, naming the stage and the steps.
        UnsupportedError: If Adam forgets its second moment at once (beta2 = 0).
    """
    require_no_average([run.log.stages[stage_index]])
    require_no_scaler(run.log.stages[stage_index])
    stage, transition = run.log.stages[stage_index], run.transition(stage_index)
    numbers = [
        intervened_hyperparameters(run, stage_index, intervention=lane.intervention)
        for lane in lanes
    ]
    layout = run.layout(stage_index)
    carried = [
        with_slots(transition(state), own.slots, layout=layout)
        for state, own in zip(states, numbers, strict=True)
    ]
    segment = None
    if isinstance(curvature, SampledCurvature) and block_steps > 1:
        segment = stage_ekfac(run, stage_index, examples=curvature.examples, seed=curvature.seed)
    progress = Progress(total=stage.steps * len(lanes), on_block=on_block)
    for members in _of_equal_blocks(stage, lanes, numbers):
        states_of_members = _Members(
            run, stage_index, members, lanes=lanes, numbers=numbers, segment=segment
        ).execute([carried[i] for i in members], block_steps=block_steps, progress=progress)
        for i, state in zip(members, states_of_members, strict=True):
            carried[i] = state
    progress.finish()
    return carried


def _of_equal_blocks(
    stage: Stage, lanes: Sequence[Lane], numbers: Sequence[Hyperparameters]
) -> list[list[int]]:
    """Return the lanes in groups whose spans, and so blocks, are the same alone and together."""
    groups: dict[object, list[int]] = {}
    for i, (lane, own) in enumerate(zip(lanes, numbers, strict=True)):
        alpha = gates(stage, lane.intervention)
        changes = tuple(np.flatnonzero(np.diff(alpha)).tolist())
        groups.setdefault((changes, tuple((alpha == 0).tolist()), own.forms), []).append(i)
    return list(groups.values())


@final
class _Members:
    """Lanes that move in the same blocks of a stage."""

    def __init__(
        self,
        run: Run,
        stage_index: int,
        members: Sequence[int],
        *,
        lanes: Sequence[Lane],
        numbers: Sequence[Hyperparameters],
        segment: SegmentCurvature | None,
    ) -> None:
        self._run, self._index, self._segment = run, stage_index, segment
        self._lanes = [lanes[i] for i in members]
        self._numbers = [numbers[i] for i in members]
        whole = [replace(lane, fraction=1.0) for lane in self._lanes]
        self._batches = StageBatches(run, stage_index, lanes=whole)

    def execute(
        self, states: Sequence[TrainingState], *, block_steps: int, progress: Progress
    ) -> list[TrainingState]:
        """Return the states after the stage."""
        carried, batches, numbers = list(states), self._batches, self._numbers
        for span in spans_of(batches, numbers, steps=range(len(batches.sizes))):
            progress.add(len(span.steps) * (len(carried) - len(span.moving)))
            for part in together(span, carried, batches=batches, numbers=numbers):
                group = CoarseSpan(
                    self._run,
                    self._index,
                    part,
                    batches=batches,
                    numbers=[numbers[lane] for lane in part.moving],
                    drawn=[self._lanes[lane] for lane in part.moving],
                    segment=self._segment,
                )
                start = stack([carried[lane] for lane in part.moving])
                after = group.execute(start, block_steps=block_steps, progress=progress)
                for lane, own in zip(part.moving, unstack(after), strict=True):
                    carried[lane] = own
        return carried
