"""Trajectories: carry states through a stage, all lanes in one traced, vmapped step."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

from auditor.dynamics.averaging import released
from auditor.dynamics.cohort import Cohort, Leg, cohorts
from auditor.dynamics.minibatches import Lane, require_lane
from auditor.dynamics.progress import OnBlock, Progress
from auditor.dynamics.run import Run
from auditor.dynamics.saved import Passage
from auditor.dynamics.state import TrainingState
from auditor.errors import InternalError


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Advanced:
    """What :func:`advance` computed.

    Attributes:
        states: One state a lane, in the stage's layout.
        gradient_examples: Per-example gradients that it took, over all lanes.
    """

    states: list[TrainingState]
    gradient_examples: int


def advance(
    run: Run,
    stage_index: int,
    states: Iterable[TrainingState],
    *,
    lanes: Sequence[Lane],
    on_block: OnBlock,
    passage: Passage | None = None,
) -> Advanced:
    """Carry boundary states through a stage: its transition R_t, then its steps.

    Exact: every step is the recorded optimizer's arithmetic with the recorded hyperparameters, or
    with those that a lane changes.
    Steps that all lanes skip are not computed, lanes that skip a step take no part in it. Lanes
    agree with single ones to rounding. Cost: one gradient a step and lane on b of its B examples.
    Memory: for every lane its state, gradients, once more the parameters, and activations; and a
    block of examples. A start state is let go of on the way if an iterator gave it.

    Args:
        run: The recorded run.
        stage_index: The stage, from 0.
        states: One a lane, in the layout of the boundary before the stage.
        lanes: What each trajectory changes.
        on_block: Told about every 32 steps.
        passage: Where lanes go on from, and are at block boundaries; None starts all of them.

    Raises:
        NumericalError: If a state becomes non-finite, naming the stage and the steps.
        InputError: If an intervention does not fit the log.
        PreconditionError: If the log lacks what the stage's steps need.
        UnsupportedError: If the stage or an intervention is not treated by this version.
    """
    transition = run.transition(stage_index)
    stage = run.log.stages[stage_index]
    places = passage or Passage.new(len(lanes))

    def start(lane: int, state: TrainingState) -> TrainingState:
        saved = places.saved(lane) if lane < len(lanes) else None  # refused by replay
        return transition(state) if saved is None else saved.state

    return replay(
        run,
        stage_index,
        map(start, range(len(lanes) + 1), states),
        lanes=lanes,
        steps=range(stage.steps),
        on_block=on_block,
        passage=places,
    )


def replay(
    run: Run,
    stage_index: int,
    states: Iterable[TrainingState],
    *,
    lanes: Sequence[Lane],
    steps: range,
    on_block: OnBlock,
    passage: Passage | None = None,
) -> Advanced:
    """Carry states through some steps of a stage; as :func:`advance`, but without R_t.

    Args:
        run: The recorded run.
        stage_index: The stage, from 0.
        states: One a lane, in the stage's layout.
        lanes: What each trajectory changes.
        steps: Consecutive steps, counted from the stage's first.
        on_block: Told about every 32 steps.
        passage: Which steps lanes have behind them already; told where they are.
    """
    legs = [Leg(run=run, stage_index=stage_index, lane=lane, steps=steps) for lane in lanes]
    return carry(legs, states, on_block=on_block, passage=passage)


def carry(
    legs: Sequence[Leg],
    states: Iterable[TrainingState],
    *,
    on_block: OnBlock,
    passage: Passage | None = None,
) -> Advanced:
    """Carry states through their stages, in one step where they fit together.

    They may be of different runs; those whose steps differ in form or size are carried one after
    the other. What a lane results in depends on no other to more than rounding. Exact; cost,
    memory and errors as those of :func:`advance`.

    Args:
        legs: Which steps each takes, of what run.
        states: One a leg, at the first of its steps, in the layout of its stage.
        on_block: Told about every 32 steps, counted over all lanes.
        passage: Which steps lanes have behind them already; told where they are.

    Returns:
        The states in the order of the legs.
    """
    passage = passage or Passage.new(len(legs))
    result = dict(enumerate(states))
    if len(result) != len(legs):
        raise InternalError(
            "lanes",
            expected=f"{len(result)} lanes",
            found=len(legs),
            remedy="Pass one a state.",
        )
    for leg in legs:
        require_lane(leg.stage, leg.lane)
    # Lanes that skip the whole stage need nothing of it, not even that its batches were recorded.
    active = [i for i, leg in enumerate(legs) if not _skips_all(leg.lane)]
    progress = Progress(total=sum(len(legs[i].steps) for i in active), on_block=on_block)
    examples = 0
    for members, batches in cohorts([legs[i] for i in active]):
        places = [active[i] for i in members]
        for alpha, i in zip(batches.alpha, places, strict=True):
            alpha[: passage.first_step(i)] = 0  # a lane stands still until where it goes on from
        cohort = Cohort(
            [legs[i] for i in places],
            (result.pop(i) for i in places),
            batches=batches,
            passage=passage.of(places),
        )
        examples += cohort.execute(progress)
        result |= dict(zip(places, cohort.finished(), strict=True))
    progress.finish()
    return Advanced(
        states=[_arrived(own, result[i]) for i, own in enumerate(legs)],
        gradient_examples=examples,
    )


def _arrived(leg: Leg, state: TrainingState) -> TrainingState:
    at_end = leg.steps.stop == leg.stage.steps
    return released(state, leg.stage) if at_end else state


def _skips_all(lane: Lane) -> bool:
    intervention = lane.intervention
    return intervention is not None and intervention.kind == "skip" and intervention.steps is None
