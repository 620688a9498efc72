"""Coarse advances: retraining with blocks of one step, with exact curvature, by a plain loop."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.curvature.exact import ExactCurvature
from auditor.dynamics.coarse import LocalCurvature, coarse_advance
from auditor.dynamics.minibatches import Lane
from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState
from auditor.dynamics.trajectory import advance
from auditor.errors import NumericalError, UnsupportedError
from auditor.model.objective import Minibatch
from auditor.plan.request import Change, Intervention
from tests.identities.test_flow import CURVATURE, Training, recorded
from tests.identities.test_interventions import LANES
from tests.identities.test_random_runs import runs
from tests.support.cases import (
    ADAMW,
    CASES,
    MOMENTUM,
    StageSpec,
    adam,
    make_run,
    one_group,
    quiet,
    sgd,
)
from tests.support.dense import flat, retrain
from tests.support.quadratic import make_quadratic_run

WHOLE = [replace(lane, fraction=1.0) for lane in LANES]


def coarse(
    run: Run, stage: int, lane: Lane, *, block_steps: int, curvature: LocalCurvature = "none"
) -> TrainingState:
    return coarse_advance(
        run,
        stage,
        [run.boundary(stage)],
        lanes=[lane],
        block_steps=block_steps,
        curvature=curvature,
        on_block=quiet,
    )[0]


def require_same(found: TrainingState, truth: TrainingState, *, rtol: float = 1e-10) -> None:
    for a, b in zip(found.tensors, truth.tensors, strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=1e-13)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("stage", [0, 1, 2])
def test_blocks_of_one_step_are_retraining(case: str, stage: int) -> None:
    run = make_run(CASES[case], weighted=True)

    found = coarse(run, stage, Lane(), block_steps=1)

    truth = advance(run, stage, [run.boundary(stage)], lanes=[Lane()], on_block=quiet).states[0]
    require_same(found, truth)


@given(stages=runs, seed=st.integers(0, 10**6), alpha=st.floats(0, 1), scale=st.floats(0.1, 2))
@settings(max_examples=12)
def test_blocks_of_one_step_are_retraining_in_random_runs(
    stages: tuple[StageSpec, ...], seed: int, alpha: float, scale: float
) -> None:
    run = make_run(stages, seed=seed, weighted=True)
    change = Intervention(
        kind="change", stage="stage0", hyperparameters={"lr": Change(scale=scale)}
    )
    fade = Intervention(kind="fade", stage="stage0", alpha=alpha)
    lanes, states = [Lane(), Lane(fade), Lane(change)], [run.boundary(0)] * 3

    found = coarse_advance(
        run, 0, states, lanes=lanes, block_steps=1, curvature="none", on_block=quiet
    )

    truth = advance(run, 0, states, lanes=lanes, on_block=quiet).states
    for one, other in zip(found, truth, strict=True):
        require_same(one, other, rtol=1e-9)


@pytest.mark.parametrize("case", ["nesterov decay kept", "two adam groups", "frozen body"])
def test_all_interventions_with_blocks_of_one_step_are_retraining(case: str) -> None:
    run = make_run(CASES[case], weighted=True)
    states = [run.boundary(1)] * len(WHOLE)

    found = coarse_advance(
        run, 1, states, lanes=WHOLE, block_steps=1, curvature="none", on_block=quiet
    )

    truth = advance(run, 1, states, lanes=WHOLE, on_block=quiet).states
    for one, other in zip(found, truth, strict=True):
        require_same(one, other)


@pytest.mark.parametrize("case", ["nesterov decay kept", "two adam groups", "frozen body"])
def test_grouped_lanes_equal_single_lanes(case: str) -> None:
    run = make_run(CASES[case], weighted=True)
    lanes = [replace(lane, fraction=0.6) for lane in LANES]
    states = [run.boundary(1)] * len(lanes)

    grouped = coarse_advance(
        run, 1, states, lanes=lanes, block_steps=3, curvature="none", on_block=quiet
    )

    for lane, state in zip(lanes, grouped, strict=True):
        require_same(state, coarse(run, 1, lane, block_steps=3))
    assert not torch.allclose(grouped[7].theta, grouped[8].theta)


@pytest.mark.parametrize("block_steps", [2, 7, 40])
@pytest.mark.parametrize(
    "training",
    [
        Training(steps=40),
        Training(steps=40, momentum=0.8, keep=True, decay=0.1),
        Training(steps=40, momentum=0.8, nesterov=True),
    ],
    ids=str,
)
def test_exact_local_curvature_is_retraining_of_a_quadratic_run(
    training: Training, block_steps: int
) -> None:
    # Every step uses the same examples, and the EK-FAC of one linear output is its Hessian.
    run = recorded(training)
    start = replace(run.boundary(1), theta=run.boundary(1).theta + 1.0)

    def end(curvature: LocalCurvature) -> TrainingState:
        return coarse_advance(
            run,
            1,
            [start],
            lanes=[Lane()],
            block_steps=block_steps,
            curvature=curvature,
            on_block=quiet,
        )[0]

    truth = advance(run, 1, [start], lanes=[Lane()], on_block=quiet).states[0]
    torch.testing.assert_close(end(CURVATURE).theta, truth.theta, rtol=1e-9, atol=1e-11)
    assert not torch.allclose(end("none").theta, truth.theta, rtol=1e-4)


def test_adam_in_blocks_equals_a_plain_loop() -> None:
    # Four equal steps (the fifth of a stage is smaller): one block of them with all 12 examples.
    spec = replace(one_group(adam(weight_decay=0.1), kind="adamw"), steps=4, batch=3)
    run = make_run((spec, spec), buffers={})
    found = coarse(run, 1, Lane(), block_steps=3)

    start, objective = run.transition(1)(run.boundary(1)), run.objective(1)
    rows = [run.batches(1).rows(step)[0].indices for step in range(4, 8)]
    columns = run.columns("data")

    def gradients(theta: torch.Tensor, steps: range) -> torch.Tensor:
        """Return the gradient of each example, [m, P]."""
        index = torch.cat([torch.from_numpy(rows[step].copy()) for step in steps])
        one = theta.new_ones(())
        return torch.stack([
            ExactCurvature().gradient_of(objective)(
                theta,
                {},
                Minibatch(
                    inputs=(columns["input"][i : i + 1],),
                    target=columns["label"][i : i + 1],
                    weights=one[None],
                    denominator=one,
                ),
            )[0]
            for i in index.tolist()
        ])

    theta, m, v = start.theta, start.slots["exp_avg"], start.slots["exp_avg_sq"]
    schedule = {name: values[:, 0] for name, values in run.schedule(1).columns.items()}
    for block in (range(3), range(3, 4)):
        each = gradients(theta, block)
        g, count = each.mean(0), len(each)
        noise = torch.zeros_like(g)
        if len(block) > 1:
            # Nine examples in chunks of two, the last of one: variance between chunks.
            chunks = each.split(2)
            between = sum(len(c) * (c.mean(0) - g) ** 2 for c in chunks) / (len(chunks) - 1)
            noise = between * (1 / 3 - 1 / count)
        for k in block:
            h = {name: float(values[k]) for name, values in schedule.items()}
            theta = theta * (1 - h["lr"] * h["weight_decay"])
            m = h["beta1"] * m + (1 - h["beta1"]) * g
            v = h["beta2"] * v + (1 - h["beta2"]) * (g**2 + noise)
            root = (v / (1 - h["beta2"] ** (k + 1))).sqrt() + h["eps"]
            theta = theta - h["lr"] / (1 - h["beta1"] ** (k + 1)) * m / root
    torch.testing.assert_close(found.theta, theta, rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(found.slots["exp_avg_sq"], v, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("spec", [MOMENTUM, ADAMW], ids=["momentum", "adamw"])
def test_traced_blocks_equal_a_plain_loop(spec: StageSpec) -> None:
    run = make_run((spec, replace(spec, steps=80)))

    found = coarse(run, 1, Lane(), block_steps=1)

    truth = retrain(run, lambda _step: 1.0, start=1)
    torch.testing.assert_close(found.theta, flat(run, truth), rtol=1e-9, atol=1e-12)


def test_divergence_is_a_diagnosis() -> None:
    spec = one_group(sgd("weight", lr=0.1))
    run = make_quadratic_run((spec, replace(spec, steps=9)))
    wild = Intervention(kind="change", stage="stage1", hyperparameters={"lr": Change(value=1e155)})

    with pytest.raises(NumericalError, match=r"stages\[stage1\]\.steps\[8\.\.10\]"):
        coarse(run, 1, Lane(wild), block_steps=3)


def test_adam_without_memory_is_refused_in_blocks() -> None:
    spec = one_group(adam(beta2=0.0), kind="adam")
    run = make_run((spec, spec))

    with pytest.raises(UnsupportedError, match="beta2"):
        coarse(run, 1, Lane(), block_steps=2)
