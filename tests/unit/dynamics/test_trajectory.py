"""Advancing: progress, cost, divergence, what is not computed."""

from dataclasses import replace

import pytest
import torch

from auditor.dynamics.run import Run
from auditor.dynamics.spans import CPU_LANE_WORK
from auditor.dynamics.trajectory import Lane, advance, replay
from auditor.errors import InternalError, NumericalError
from auditor.plan.request import Intervention, StepWindow
from tests.support.cases import CASES, MOMENTUM, StageSpec, make_run, mlp_model, quiet, sgd

SKIP = Intervention(kind="skip", stage="stage0")


def test_progress_is_told_at_blocks_and_at_the_end() -> None:
    run = make_run((replace(MOMENTUM, steps=70),))
    told: list[tuple[int, int]] = []

    advance(run, 0, [run.boundary(0)], lanes=[Lane()], on_block=lambda *done: told.append(done))

    assert told == [(32, 70), (64, 70), (70, 70)]


def test_progress_may_stop_the_work() -> None:
    run = make_run((replace(MOMENTUM, steps=40),))

    def stop(_done: int, _total: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        advance(run, 0, [run.boundary(0)], lanes=[Lane()], on_block=stop)


def test_cost_counts_examples_of_moving_lanes() -> None:
    run = make_run(CASES["sgd"])
    window = SKIP.model_copy(update={"steps": StepWindow(first_step=0, end_step=2)})
    lanes = [Lane(), Lane(SKIP), Lane(window), Lane(fraction=0.5)]

    cost = advance(run, 0, [run.boundary(0)] * 4, lanes=lanes, on_block=quiet).gradient_examples

    # Steps of 4, 4, 4, 4 and 3 examples; half of 3 is rounded to even.
    assert cost == 19 + 0 + 11 + (2 * 4 + 2)


def test_skipped_stage_needs_no_batches() -> None:
    run = make_run(CASES["sgd"])
    stage = run.log.stages[0].model_copy(update={"batches": None})
    log = run.log.model_copy(update={"stages": (stage, *run.log.stages[1:])})
    bare = Run(log, run.log_digest, run.blobs, model_of=mlp_model)

    state = advance(bare, 0, [bare.boundary(0)], lanes=[Lane(SKIP)], on_block=quiet).states[0]

    assert torch.equal(state.theta, run.transition(0)(run.boundary(0)).theta)


def test_divergence_names_stage_and_steps() -> None:
    exploding = StageSpec(groups=(sgd(lr=1e200, weight_decay=1.0),), steps=40)

    with pytest.raises(NumericalError, match=r"stages\[stage0\]\.steps\[0\.\.31\]"):
        make_run((exploding,))


def test_lanes_and_states_must_pair() -> None:
    run = make_run(CASES["sgd"])

    with pytest.raises(InternalError, match="lanes"):
        advance(run, 0, [run.boundary(0)], lanes=[Lane(), Lane()], on_block=quiet)


def test_replay_of_parts_composes() -> None:
    run = make_run(CASES["adamw kept"])
    state = run.transition(1)(run.boundary(1))

    for steps in (range(2), range(2, 5)):
        state = replay(run, 1, [state], lanes=[Lane()], steps=steps, on_block=quiet).states[0]

    assert torch.equal(state.theta, run.boundary(2).theta)


def test_large_lanes_on_a_cpu_do_not_depend_on_their_company() -> None:
    wide = {
        "body.weight": (3, 4), "body.bias": (3,), "head.weight": (3, 3), "head.bias": (3,),
        "unused": (CPU_LANE_WORK // 3,),
    }  # fmt: skip
    spec = StageSpec(groups=(sgd("body.weight", "body.bias", "head.weight", "head.bias"),))
    run = make_run((spec,), shapes=wide)
    lanes = [Lane(), Lane(SKIP), Lane(fraction=0.99)]

    grouped = advance(run, 0, [run.boundary(0)] * 3, lanes=lanes, on_block=quiet).states

    alone = advance(run, 0, [run.boundary(0)], lanes=[Lane()], on_block=quiet).states[0]
    assert torch.equal(grouped[0].theta, alone.theta)


def test_arguments_are_not_written_to() -> None:
    run = make_run(CASES["adamw kept"])
    state = run.boundary(1)
    before = [tensor.clone() for tensor in state.tensors]

    advance(run, 1, [state, state], lanes=[Lane(), Lane(fraction=0.5)], on_block=quiet)

    assert all(torch.equal(a, b) for a, b in zip(before, state.tensors, strict=True))
