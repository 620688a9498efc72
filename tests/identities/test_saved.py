"""Going on from a state inside a stage is running through: every optimizer, every kind of lane."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch

from auditor.dynamics.heat import NOISE
from auditor.dynamics.minibatches import Lane
from auditor.dynamics.run import Run
from auditor.dynamics.saved import Passage, Places, Saved, read_saved, saved_bytes
from auditor.dynamics.spans import CPU_LANE_WORK
from auditor.dynamics.state import AVERAGE, TrainingState
from auditor.dynamics.trajectory import advance
from auditor.errors import InputError, NumericalError, StageLogError
from auditor.model.preferences import REFERENCE
from auditor.model.tensors import write_tensors
from auditor.plan.request import Change, Intervention, Reference, Selection, StepWindow
from tests.reference.test_float16_vs_torch import train as train_float16
from tests.reference.test_training_facts_vs_torch import CASES as FACTS
from tests.support.cases import (
    ADAMW,
    BODY,
    CASES,
    HEAD,
    MOMENTUM,
    StageSpec,
    adam,
    make_run,
    one_group,
    quiet,
    sgd,
)
from tests.support.facts_cases import EmaFrom, trained
from tests.support.going_on import carried_on, stored

FLOAT64 = {"rtol": 1e-12, "atol": 1e-14}
SOURCE_B = Selection(columns={"source": ("b",)})


class Stopped(Exception):  # noqa: N818 - a signal, not an error
    pass


def lanes_of(stage: str, first_step: int) -> list[Lane]:
    """Return a lane of every kind that acts on a stage."""
    window = StepWindow(first_step=first_step + 20, end_step=first_step + 50)
    shuffled = Reference(dataset="data", order="shuffled")
    return [
        Lane(),
        Lane(Intervention(kind="fade", stage=stage, alpha=0.3)),
        Lane(Intervention(kind="skip", stage=stage, steps=window)),
        Lane(Intervention(kind="replace", stage=stage, reference=shuffled), seed=3),
        Lane(Intervention(kind="drop", stage=stage, where=SOURCE_B)),
        Lane(fraction=0.5, replica=1),
        Lane(Intervention(kind="drop", stage=stage, where=SOURCE_B), fraction=0.5),
    ]


def stopping_after(blocks: int) -> Callable[[int, int], None]:
    """Return an on_block that stops the computation when it is told the given number of times."""
    told = []

    def on_block(done: int, _total: int) -> None:
        told.append(done)
        if len(told) == blocks:
            raise Stopped

    return on_block


def interrupted(
    run: Run, lanes: Sequence[Lane], *, stage: int, blocks: int = 1
) -> tuple[list[TrainingState], list[int]]:
    """Return the states of a run through that is stopped once, and the steps where it goes on."""
    names = tuple(f"lane {number}" for number in range(len(lanes)))
    first = Passage(places=Places(), names=names)
    start = [run.boundary(stage)] * len(lanes)
    with pytest.raises(Stopped):
        advance(
            run, stage, start, lanes=lanes, on_block=stopping_after(blocks), passage=first
        )  # fmt: skip
    second = Passage(places=stored(run, first.places, names, stage=stage), names=names)
    steps = [second.first_step(lane) for lane in range(len(lanes))]
    after = advance(run, stage, start, lanes=lanes, on_block=quiet, passage=second)
    return after.states, steps


def require_equal(found: TrainingState, truth: TrainingState) -> None:
    assert set(found.slots) == set(truth.slots)
    assert set(found.buffers) == set(truth.buffers)
    for own, other in zip(found.tensors, truth.tensors, strict=True):
        torch.testing.assert_close(own, other, **FLOAT64)


@pytest.mark.parametrize("case", CASES)
def test_every_optimizer_goes_on_bit_by_bit(case: str) -> None:
    run = make_run(tuple(replace(spec, steps=40) for spec in CASES[case]), weighted=True)

    (found,), (step,) = interrupted(run, [Lane()], stage=1)

    truth = advance(run, 1, [run.boundary(1)], lanes=[Lane()], on_block=quiet).states[0]
    assert step == 32
    assert all(map(torch.equal, found.tensors, truth.tensors))


@pytest.mark.parametrize("spec", [MOMENTUM, ADAMW], ids=["momentum", "adamw"])
@pytest.mark.parametrize("blocks", [1, 4])
def test_every_kind_of_lane_goes_on_where_it_was(spec: StageSpec, blocks: int) -> None:
    run = make_run((spec, replace(spec, steps=60, transition="keep", batch=6)))
    lanes = lanes_of("stage1", run.log.stages[1].first_step)

    found, steps = interrupted(run, lanes, stage=1, blocks=blocks)

    assert max(steps) > 0
    for lane, state in zip(lanes, found, strict=True):
        truth = advance(run, 1, [run.boundary(1)], lanes=[lane], on_block=quiet).states[0]
        require_equal(state, truth)


def test_lanes_that_run_one_after_the_other_go_on_each_from_its_own_step() -> None:
    wide = {
        "body.weight": (3, 4), "body.bias": (3,), "head.weight": (3, 3), "head.bias": (3,),
        "unused": (CPU_LANE_WORK // 3,),
    }  # fmt: skip
    group = sgd("body.weight", "body.bias", "head.weight", "head.bias", momentum=0.9)
    run = make_run((StageSpec(groups=(group,), steps=66),), shapes=wide)
    fade = Lane(Intervention(kind="fade", stage="stage0", alpha=0.5))

    lanes = [Lane(), fade, Lane(fraction=0.99)]

    found, steps = interrupted(run, lanes, stage=0, blocks=4)

    assert steps == [64, 0, 66]  # smaller fractions go first
    for lane, state in zip(lanes, found, strict=True):
        truth = advance(run, 0, [run.boundary(0)], lanes=[lane], on_block=quiet).states[0]
        assert torch.equal(state.theta, truth.theta)


def test_the_noise_of_sub_samples_is_kept() -> None:
    run = make_run((one_group(adam(), kind="adam"), replace(ADAMW, steps=40)))
    places = Places()
    passage = Passage(places=places, names=("a",))
    lane = [Lane(fraction=0.5)]

    with pytest.raises(Stopped):
        advance(
            run, 1, [run.boundary(1)], lanes=lane, on_block=stopping_after(1), passage=passage
        )  # fmt: skip

    saved = stored(run, places, ["a"], stage=1).get("a")
    assert saved is not None
    assert saved.step == 32
    assert float(saved.state.slots[NOISE].abs().max()) > 0


def through(run: Run, lane: Lane, *, stage: int) -> TrainingState:
    start = [run.boundary(stage)]
    return advance(run, stage, start, lanes=[lane], on_block=quiet).states[0]


@pytest.mark.parametrize("name", FACTS)
def test_every_loss_goes_on(name: str) -> None:
    run = trained(FACTS[name])[1]
    lane = Lane(Intervention(stage="stage1", kind="fade", alpha=0.5))

    found = carried_on(run, lane, stage=1, step=2)

    require_equal(found, through(run, lane, stage=1))


def test_what_preferences_are_compared_with_is_kept() -> None:
    run = trained(FACTS["preferences against the stage's start"])[1]
    start = run.transition(1)(run.boundary(1))

    found = carried_on(run, Lane(), stage=1, step=3)

    assert torch.equal(found.slots[REFERENCE], start.theta)


@pytest.mark.parametrize("ema_from", ["first_step", "stage_start"])
def test_a_moving_average_goes_on_and_is_released_once(ema_from: EmaFrom) -> None:
    case = replace(FACTS["squared error"], ema=(0.8, ema_from))
    run = trained(case)[1]

    found = carried_on(run, Lane(), stage=1, step=2)
    at_the_end = carried_on(run, Lane(), stage=1, step=run.log.stages[1].steps)

    truth = through(run, Lane(), stage=1)
    assert torch.equal(truth.theta, truth.slots[AVERAGE])
    require_equal(found, truth)
    require_equal(at_the_end, truth)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_float16_goes_on_at_the_recorded_scales(kind: str) -> None:
    run = train_float16(kind)[1]
    assert run is not None

    found = carried_on(run, Lane(), stage=1, step=5)

    truth = through(run, Lane(), stage=1)
    assert all(map(torch.equal, found.tensors, truth.tensors))


def test_a_block_in_which_a_lane_diverges_is_no_place_to_go_on_from() -> None:
    run = make_run((replace(one_group(sgd(weight_decay=0.1)), steps=40),))
    wild = Intervention(kind="change", stage="stage0", hyperparameters={"lr": Change(scale=1e160)})
    lanes = [Lane(), Lane(wild)]
    passage = Passage.new(2)

    with pytest.raises(NumericalError):
        advance(
            run, 0, [run.boundary(0)] * 2, lanes=lanes, on_block=quiet, passage=passage
        )  # fmt: skip

    assert passage.places.steps() == {}


def test_states_of_another_stage_or_format_are_refused() -> None:
    run = make_run(
        (StageSpec(groups=(sgd(*BODY),)), StageSpec(groups=(sgd(),), added=HEAD))
    )  # fmt: skip
    state = run.transition(0)(run.boundary(0))
    good = Saved(step=2, state=state)
    read = read_saved(saved_bytes(good), run, stage_index=0)
    assert (read.step, torch.equal(read.state.theta, state.theta)) == (2, True)

    for saved, stage in ((good, 1), (replace(good, step=99), 0), (replace(good, step=0), 0)):
        with pytest.raises(StageLogError, match="saved state"):
            read_saved(saved_bytes(saved), run, stage_index=stage)
    with pytest.raises(StageLogError, match="format 0"):
        read_saved(write_tensors({"theta": state.theta}), run, stage_index=0)
    with pytest.raises(InputError):
        read_saved(b"damaged", run, stage_index=0)


def test_reading_a_saved_state_takes_no_transition() -> None:
    run = make_run((MOMENTUM, replace(ADAMW, steps=40)))
    state = run.transition(1)(run.boundary(1))
    reader = Run(run.log, run.log_digest, run.blobs)
    own = reader.transition(1)
    taken = list[TrainingState]()

    def start(given: TrainingState) -> TrainingState:
        taken.append(given)
        return own.start(given)

    reader = Run(run.log, run.log_digest, run.blobs)
    reader.keep(("transition", 1), lambda: replace(own, start=start))

    read = read_saved(saved_bytes(Saved(step=2, state=state)), reader, stage_index=1)

    assert torch.equal(read.state.theta, state.theta)
    assert taken == []
