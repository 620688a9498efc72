"""Does a log agree with itself? Replay what lies between recorded checkpoints and compare."""

from dataclasses import dataclass
from typing import final

import torch

from auditor.dynamics.comparison import Comparison, compare
from auditor.dynamics.draws import generator_for
from auditor.dynamics.factual import FactualStage, matching
from auditor.dynamics.minibatches import Lane
from auditor.dynamics.progress import OnBlock, Progress
from auditor.dynamics.rounding import RoundingNoise, autocast_epsilon
from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState
from auditor.dynamics.trajectory import replay
from auditor.plan.actions import SegmentFinding
from auditor.plan.segment_sample import drawn_segments
from auditor.stagelog.log import Checkpoint


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentSample:
    """Which of a stage's segments are replayed.

    Attributes:
        fraction: Part of them, in (0, 1], rounded up.
        seed: Drives the draw.
    """

    fraction: float
    seed: int


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class _Segment:
    """What lies between two checkpoints; ``start`` None stands for the stage's start after R_t."""

    start: Checkpoint | None
    steps: range  # counted from the stage's first
    end: Checkpoint


def check_segment(
    run: Run, stage_index: int, *, on_block: OnBlock, sample: SegmentSample | None = None
) -> SegmentFinding:
    """Replay a stage between neighbouring checkpoints and say how far off it ends.

    Each segment starts from its *recorded* state, runs the recorded batches and hyperparameters,
    and is compared with the next recorded state: parameters, buffers and the optimizer's moments,
    each relative to the largest magnitude of its kind. A second lane starts one unit in the
    last place off; ten times its deviation is what rounding may explain. Where that deviation
    exceeds 1e4 units the segment is not resolvable: record checkpoints more often. Coordinates
    that only rounding moves are bounded instead, see :mod:`auditor.dynamics.rounding`.

    Cost: two lanes of the replayed steps.

    Args:
        run: The recorded run.
        stage_index: The stage, from 0.
        on_block: Told about every segment, in steps.
        sample: Replay only some segments, drawn uniformly; by default all.

    Returns:
        The finding on the worst segment, the first inconsistent steps, and what would have shown.

    Raises:
        NumericalError: If a replay becomes non-finite.
        PreconditionError: If batches, schedule or optimizer state were not recorded.
    """
    segments = _segments(run, stage_index)
    chosen = _chosen(segments, run, stage_index, sample=sample)
    progress = Progress(total=sum(len(s.steps) for s in chosen), on_block=on_block)
    comparisons = []
    for segment in chosen:
        comparisons.append(_replayed(run, stage_index, segment))
        progress.add(len(segment.steps))
    progress.finish()
    order = ("consistent", "not resolvable", "inconsistent")
    worst = max(comparisons, key=lambda c: (order.index(c.verdict), c.deviation / c.tolerance))
    wrong = [c.steps for c in comparisons if c.verdict == "inconsistent"]
    detectable = [c.detectable_update for c in comparisons if c.detectable_update is not None]
    return SegmentFinding(
        stage=stage_index,
        checkpoints=len(comparisons),
        segments=len(segments),
        deviation=worst.deviation,
        tolerance=worst.tolerance,
        amplification=worst.amplification,
        verdict=worst.verdict,
        worst=worst.worst,
        inconsistent_steps=(wrong[0].start, wrong[0].stop) if wrong else None,
        detectable_state=max(c.resolution for c in comparisons),
        detectable_update=max(detectable) if detectable else None,
        rounding_coordinates=max(c.left_out for c in comparisons),
    )


def _segments(run: Run, stage_index: int) -> list[_Segment]:
    """Return what lies between neighbouring checkpoints, in order."""
    stage = run.log.stages[stage_index]
    segments: list[_Segment] = []
    state: Checkpoint | None = None
    first = 0
    for checkpoint in sorted(stage.checkpoints, key=lambda c: c.step):
        end = checkpoint.step - stage.first_step
        if end == first:
            continue
        segments.append(_Segment(start=state, steps=range(first, end), end=checkpoint))
        if checkpoint.optimizer is not None:
            state, first = checkpoint, end
    return segments


def _chosen(
    segments: list[_Segment], run: Run, stage_index: int, *, sample: SegmentSample | None
) -> list[_Segment]:
    if sample is None:
        return segments
    count = drawn_segments(len(segments), fraction=sample.fraction)
    generator = generator_for("consistency", sample.seed, run.log_digest, stage_index)
    drawn = generator.choice(len(segments), size=count, replace=False)
    return [segments[position] for position in sorted(drawn.tolist())]


def _replayed(run: Run, stage_index: int, segment: _Segment) -> Comparison:
    initial = FactualStage(run, stage_index).start()
    start = _recorded(run, stage_index, segment.start, like=initial)
    states = _carried(run, stage_index, [start, _perturbed(start)], steps=segment.steps)
    recorded = run.recorded(segment.end, boundary=stage_index + 1)
    if segment.end.optimizer is not None:
        # Slots that the checkpoint lacks count as zeros, which they then have to be.
        recorded = initial.replaced(matching(recorded, initial))
    noise = None
    if run.log.stages[stage_index].optimizer.kind != "sgd":
        noise = RoundingNoise(run, stage_index).coordinates(
            recorded, states[0], perturbed=states[1], steps=segment.steps
        )
    offset = run.log.stages[stage_index].first_step
    return compare(
        recorded,
        states[0],
        perturbed=states[1],
        start=start,
        layout=run.layout(stage_index),
        steps=range(segment.steps.start + offset, segment.steps.stop + offset),
        noise=noise,
        autocast=autocast_epsilon(run.log.stages[stage_index].precision),
    )


def _carried(
    run: Run, stage_index: int, starts: list[TrainingState], *, steps: range
) -> list[TrainingState]:
    """Return the states after some steps.

    Under autocast each goes alone: lanes of one ``vmap`` sum in another order than the training
    did, which in the lower precision shows, while a lane alone repeats its operations.
    """
    alone = autocast_epsilon(run.log.stages[stage_index].precision) > 0
    together = [[start] for start in starts] if alone else [starts]
    return [
        state
        for part in together
        for state in replay(
            run, stage_index, part, lanes=[Lane()] * len(part), steps=steps, on_block=_quiet
        ).states
    ]


def _recorded(
    run: Run, stage_index: int, checkpoint: Checkpoint | None, *, like: TrainingState
) -> TrainingState:
    """Return the state that a segment starts from, in the structure of the stage's states."""
    if checkpoint is None:
        return like
    return like.replaced(matching(run.recorded(checkpoint, boundary=stage_index + 1), like))


def _perturbed(state: TrainingState) -> TrainingState:
    """Return the state with every parameter moved by one unit in the last place, in turns."""
    theta = state.theta
    signs = torch.ones_like(theta)
    signs[1::2] = -1
    moved = torch.nextafter(theta, signs * torch.inf)
    return TrainingState(theta=moved, slots=state.slots, buffers=state.buffers)


def _quiet(_done: int, _total: int) -> None:
    """Segments are counted when they are done."""
