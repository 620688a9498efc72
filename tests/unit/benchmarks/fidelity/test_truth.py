"""The judge itself: what it calls the truth is a plain loop written out here once more."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from auditor.estimators.retrain import RetrainSettings
from benchmarks.fidelity.estimates import ask
from benchmarks.fidelity.interventions import Asked, asked_of, drawn_feed, dropped_rows
from benchmarks.fidelity.recording import record
from benchmarks.fidelity.training import copied, train_stage
from benchmarks.fidelity.truth import (
    boundaries_of,
    compute_truth,
    counterfactual,
    difference,
    total_steps,
)
from benchmarks.fidelity.truth_cache import store, stored, truth_key
from benchmarks.fidelity.workload import generator_for
from tests.support.small_workload import small_workload

SKIP = Asked(kind="skip", stage="second")


def feeds(seed=0):
    workload = small_workload(seed)
    return {
        one.key: drawn_feed(workload, one, generator_for("feed", one.key))
        for one in asked_of(workload)
        if one.kind != "skip"
    }


def truth_of(orders=2, reruns=2, on_stage=lambda _: None):
    return compute_truth(
        lambda rerun: small_workload(0, rerun),
        feeds(),
        orders=orders,
        reruns=reruns,
        on_stage=on_stage,
    )


def parameters(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def by_hand(stages):
    """Train on (stage, momentum is fresh) pairs with a loop of this test's own."""
    workload = small_workload(0)
    model = workload.build()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    for name, fresh in stages:
        stage = workload.stages[workload.stage_index(name)]
        if fresh:
            optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
        for rows in stage.batches:
            optimizer.zero_grad()
            cross_entropy(model(stage.columns["x"][rows]), stage.columns["label"][rows]).backward()
            optimizer.step()
    return parameters(model)


def test_factual_training_is_the_plain_loop() -> None:
    final = boundaries_of(small_workload(0))[-1].model

    expected = by_hand([("first", True), ("second", True), ("third", False)])

    torch.testing.assert_close(parameters(final), expected, rtol=0, atol=0)


def test_skipped_stage_still_resets_the_optimizer() -> None:
    workload = small_workload(0)

    model = counterfactual(workload, boundaries_of(workload), asked=SKIP, feeds={})

    expected = by_hand([("first", True), ("third", True)])
    carried = by_hand([("first", True), ("third", False)])
    torch.testing.assert_close(parameters(model), expected, rtol=0, atol=0)
    assert not torch.equal(expected, carried)


def test_copied_point_trains_on_by_itself() -> None:
    workload = small_workload(0)
    point = boundaries_of(workload)[2]
    before = parameters(point.model).clone()

    other = copied(point)
    train_stage(workload, other, workload.stages[2])

    assert torch.equal(parameters(point.model), before)
    assert not torch.equal(parameters(other.model), before)


def test_last_stage_has_no_noise_of_order() -> None:
    effects = truth_of().effects["loss", "skip third"]

    assert np.ptp(effects.paired.mean(axis=1)) == 0
    np.testing.assert_array_equal(effects.single[0], effects.exact)


def test_earlier_stage_differs_between_orders_and_reruns() -> None:
    effects = truth_of().effects["loss", "skip first"]

    assert np.ptp(effects.paired.mean(axis=1)) > 0
    assert np.ptp(effects.rerun.mean(axis=1)) > 0


def test_steps_are_counted_as_they_are_run() -> None:
    steps: list[int] = []

    truth_of(orders=2, reruns=1, on_stage=steps.append)

    assert sum(steps) == total_steps(small_workload(0), orders=2, reruns=1)


def test_drawn_drop_changes_dropped_examples_only() -> None:
    workload = small_workload(0)
    asked = Asked(kind="drop", stage="second", drop=workload.drops[0])
    stage = workload.stages[1]
    dropped = dropped_rows(stage, workload.drops[0])

    rows = drawn_feed(workload, asked, generator_for("x")).batches

    hit = dropped[stage.batches]
    assert hit.any()
    assert torch.equal(rows[~hit], stage.batches[~hit])
    assert not dropped[rows].any()


def test_library_retraining_reproduces_the_truth(tmp_path: Path) -> None:
    workload = small_workload(0)
    boundaries = boundaries_of(workload)
    recorded = record(workload, tmp_path, final_point=boundaries[-1])
    truth = compute_truth(
        lambda rerun: small_workload(0, rerun), recorded.feeds, orders=2, reruns=2
    )

    answer = ask(workload, recorded, RetrainSettings())

    assert len(answer.estimates) == len(asked_of(workload))
    for estimate in answer.estimates:
        exact = truth.effects["loss", estimate.asked.key].exact
        np.testing.assert_allclose(estimate.per_example, exact, rtol=0, atol=1e-5)
        assert np.abs(exact).max() > 1e-3


def test_recording_refuses_another_training(tmp_path: Path) -> None:
    workload = small_workload(0)

    with pytest.raises(Exception, match="parameters of the recorded training"):
        record(workload, tmp_path, final_point=boundaries_of(workload)[1])


def test_cache_returns_what_was_stored(tmp_path: Path) -> None:
    truth = truth_of()

    store(tmp_path, "key", truth)

    found = stored(tmp_path, "key")
    assert found is not None
    assert stored(tmp_path, "other") is None
    np.testing.assert_array_equal(found.factual["loss"], truth.factual["loss"])
    for key, effects in truth.effects.items():
        np.testing.assert_array_equal(found.effects[key].rerun, effects.rerun)


@pytest.mark.parametrize(("seed", "orders"), [(1, 2), (0, 3)])
def test_key_differs_with_what_a_truth_depends_on(seed: int, orders: int) -> None:
    def key(seed, orders):
        return truth_key(
            lambda rerun: small_workload(seed, rerun),
            "benchmarks.fidelity.workload",
            feeds=feeds(),
            orders=orders,
            reruns=2,
        )

    assert key(0, 2) == key(0, 2)
    assert key(seed, orders) != key(0, 2)


def test_difference_is_factual_minus_counterfactual() -> None:
    assert difference({"q": np.array([3.0])}, {"q": np.array([1.0])})["q"] == 2.0
