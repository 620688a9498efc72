"""Interventions that must have no effect, that must have one, and that must be the same."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from auditor.dynamics.run import Run
from auditor.dynamics.trajectory import Lane, advance
from auditor.plan.request import Intervention, Reference, Selection, StepWindow
from auditor.stagelog.batches import BatchRow, write_batches
from tests.support.cases import (
    ADAMW,
    CASES,
    MOMENTUM,
    StageSpec,
    make_columns,
    make_run,
    mlp_model,
    quiet,
    sgd,
)
from tests.support.dense import flat, retrain, within

HALVINGS = 16
LANES = [
    Lane(),
    Lane(Intervention(kind="skip", stage="stage1")),
    Lane(Intervention(kind="fade", stage="stage1", alpha=0.3)),
    Lane(Intervention(kind="skip", stage="stage1", steps=StepWindow(first_step=6, end_step=8))),
    Lane(
        Intervention(
            kind="replace", stage="stage1", reference=Reference(dataset="data", order="shuffled")
        ),
        seed=3,
    ),
    Lane(Intervention(kind="drop", stage="stage1", where=Selection(columns={"source": ("b",)}))),
    Lane(
        Intervention(
            kind="drop",
            stage="stage1",
            where=Selection(columns={"source": ("b",)}),
            divisor="kept",
        )
    ),
    Lane(fraction=0.5, replica=0),
    Lane(fraction=0.5, replica=1),
    Lane(Intervention(kind="skip", stage="stage1"), fraction=0.5, replica=1),
]


def theta_after(run: Run, index: int, lane: Lane) -> Tensor:
    states = [run.boundary(index)]
    return advance(run, index, states, lanes=[lane], on_block=quiet).states[0].theta


@pytest.mark.parametrize("case", ["nesterov decay kept", "two adam groups", "frozen body"])
def test_grouped_lanes_equal_single_lanes(case: str) -> None:
    run = make_run(CASES[case], weighted=True)

    grouped = advance(run, 1, [run.boundary(1)] * len(LANES), lanes=LANES, on_block=quiet)

    for lane, state in zip(LANES, grouped.states, strict=True):
        torch.testing.assert_close(state.theta, theta_after(run, 1, lane), rtol=1e-11, atol=1e-13)


def test_traced_grouped_lanes_equal_untraced_single_lanes() -> None:
    run = make_run((MOMENTUM, replace(MOMENTUM, steps=70, batch=6)))
    untraced = make_run((MOMENTUM, replace(MOMENTUM, steps=70, batch=6)))

    grouped = advance(run, 1, [run.boundary(1)] * len(LANES), lanes=LANES, on_block=quiet)

    for lane, state in zip(LANES, grouped.states, strict=True):
        single = theta_after(untraced, 1, lane)
        torch.testing.assert_close(state.theta, single, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_skip_equals_fade_to_nothing(case: str) -> None:
    run = make_run(CASES[case])

    skipped = theta_after(run, 1, Lane(Intervention(kind="skip", stage="stage1")))
    faded = theta_after(run, 1, Lane(Intervention(kind="fade", stage="stage1", alpha=0.0)))
    unchanged = theta_after(run, 1, Lane(Intervention(kind="fade", stage="stage1", alpha=1.0)))

    assert torch.equal(skipped, faded)
    assert torch.equal(skipped, run.transition(1)(run.boundary(1)).theta)
    assert torch.equal(unchanged, theta_after(run, 1, Lane()))


@pytest.mark.parametrize("case", CASES)
def test_subsample_of_everything_equals_retraining(case: str) -> None:
    run = make_run(CASES[case])

    assert torch.equal(
        theta_after(run, 1, Lane(fraction=1.0, replica=5, seed=9)), theta_after(run, 1, Lane())
    )


@pytest.mark.parametrize("case", CASES)
def test_replacing_by_own_data_in_its_own_order_changes_nothing(case: str) -> None:
    run = make_run(CASES[case])
    own = Reference(dataset="data", order="recorded")

    replaced = theta_after(
        run, 1, Lane(Intervention(kind="replace", stage="stage1", reference=own))
    )

    assert torch.equal(replaced, theta_after(run, 1, Lane()))


def test_replacing_in_shuffled_order_is_another_run() -> None:
    run = make_run(CASES["sgd"])
    own = Reference(dataset="data", order="shuffled")

    replaced = theta_after(
        run, 1, Lane(Intervention(kind="replace", stage="stage1", reference=own))
    )

    assert not torch.allclose(replaced, theta_after(run, 1, Lane()))


def zero_rate(spec: StageSpec) -> StageSpec:
    groups = tuple(replace(group, numbers={**group.numbers, "lr": 0.0}) for group in spec.groups)
    return replace(spec, groups=groups)


def skip_effect(run: Run) -> Tensor:
    """Return the change of the final parameters when stage 1 is skipped."""
    return run.boundary(3).theta - flat(run, retrain(run, within(5, 10, alpha=0.0), start=1))


@pytest.mark.parametrize("spec", [MOMENTUM, ADAMW], ids=["momentum", "adamw"])
def test_zero_rate_stage_has_no_effect_before_a_reset(spec: StageSpec) -> None:
    run = make_run((spec, zero_rate(spec), spec), buffers={})
    skip = Intervention(kind="skip", stage="stage1")

    skipped = advance(run, 1, [run.boundary(1)], lanes=[Lane(skip)], on_block=quiet).states
    end = advance(run, 2, skipped, lanes=[Lane()], on_block=quiet).states[0]

    assert torch.equal(end.theta, run.boundary(3).theta)


@pytest.mark.parametrize("spec", [MOMENTUM, ADAMW], ids=["momentum", "adamw"])
def test_zero_rate_stage_moves_an_optimizer_that_is_kept(spec: StageSpec) -> None:
    kept = replace(spec, transition="keep")
    run = make_run((spec, zero_rate(kept), kept), buffers={})
    skip = Intervention(kind="skip", stage="stage1")

    skipped = advance(run, 1, [run.boundary(1)], lanes=[Lane(skip)], on_block=quiet).states
    end = advance(run, 2, skipped, lanes=[Lane()], on_block=quiet).states[0]

    assert float((end.theta - run.boundary(3).theta).abs().max()) > 1e-3
    torch.testing.assert_close(end.theta - run.boundary(3).theta, -skip_effect(run))


def test_dropping_with_kept_divisor_equals_weights_of_zero() -> None:
    run = make_run(CASES["sgd"])
    selection = Selection(columns={"source": ("b",)})
    drop = Intervention(kind="drop", stage="stage1", where=selection, divisor="kept")

    dropped = theta_after(run, 1, Lane(drop))

    weightless = with_weights(run, 1, lambda indices: (indices % 2 == 0).astype(float))
    torch.testing.assert_close(dropped, theta_after(weightless, 1, Lane()), rtol=1e-13, atol=0.0)
    assert not torch.allclose(dropped, theta_after(run, 1, Lane()))


def with_weights(run: Run, index: int, weights_of: Callable[[np.ndarray], np.ndarray]) -> Run:
    """Return the run whose stage was recorded with weights given by the example's row."""
    stage, batches, blobs = run.log.stages[index], run.batches(index), run.blobs
    rows = [
        tuple(
            BatchRow(dataset=r.dataset, indices=r.indices, weights=weights_of(r.indices))
            for r in batches.rows(step)
        )
        for step in range(stage.first_step, stage.end_step)
    ]
    digest = blobs.write(write_batches(rows, first_step=stage.first_step))
    stages = list(run.log.stages)
    stages[index] = stage.model_copy(update={"batches": digest})
    log = run.log.model_copy(update={"stages": tuple(stages)})
    return Run(log, run.log_digest, blobs, model_of=mlp_model)


def dropping(column: str) -> list[Lane]:
    """Return lanes that drop the examples with 1 in ``column``, or in ``column<i>`` for each i."""
    names = [column] * HALVINGS if column == "label" else [f"{column}{i}" for i in range(HALVINGS)]
    return [
        Lane(
            Intervention(kind="drop", stage="stage1", where=Selection(columns={name: (1,)})),
            seed=seed,
        )
        for seed, name in enumerate(names)
    ]


def bias_over_spread(run: Run, lanes: list[Lane]) -> float:
    """Return the largest |mean| / sd of any parameter's change, over the lanes."""
    states = advance(run, 1, [run.boundary(1)] * len(lanes), lanes=lanes, on_block=quiet).states
    changes = torch.stack([state.theta for state in states]) - theta_after(run, 1, Lane())
    return float((changes.mean(0).abs() / changes.std(0)).max())


def test_dropping_a_random_half_resampled_has_an_effect_near_zero() -> None:
    # A random half of the examples is dropped and each gap refilled by a kept one. A step's
    # gradient keeps its expectation, so the change of the final parameters is sampling noise:
    # half of the positions are drawn anew. With noise variance s^2 of a whole run of its own
    # order, the mean change over halvings is -1/2 the recorded order's noise, of variance s^2 / 4,
    # and a single change has variance of at least s^2 / 2 around it (half of the positions drawn
    # anew, and the choice of which). The ratio |mean| / sd is then at most about 0.7 |N(0, 1)|;
    # the largest of 27 correlated parameters stays below 0.7 * 4 = 2.8 but for a chance of 0.2 %.
    # Dropping a whole class instead shifts the mean gradient at every step: many times that.
    spec = StageSpec(groups=(sgd(lr=0.05),), steps=60, batch=3)
    generator = torch.Generator().manual_seed(11)
    columns = make_columns(120, generator=generator, dtype=torch.float64)
    for i in range(HALVINGS):
        columns[f"half{i}"] = torch.randperm(120, generator=generator) % 2
    run = make_run((spec, spec), columns=columns)

    assert bias_over_spread(run, dropping("half")) < 2.8
    assert bias_over_spread(run, dropping("label")) > 5.6
