"""Other orders of a stage's examples: what they keep, and what they are independent of."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.dynamics.interventions import intervened_examples
from auditor.dynamics.orders import ordered_examples, passes
from auditor.dynamics.run import Run
from auditor.plan.request import Intervention, Selection
from tests.support.builders import make_stage_log


@pytest.fixture(scope="module")
def run() -> Run:
    recorded = make_stage_log(stages=2, steps=7, examples=24, batch=8)
    return Run(recorded.log, recorded.digest, recorded.blobs)


@given(
    examples=st.integers(2, 12), epochs=st.integers(1, 4), batch=st.integers(1, 5),
    seed=st.integers(0, 10),
)  # fmt: skip
def test_epochs_that_do_not_end_with_a_step_are_passes(examples, epochs, batch, seed):
    generator = np.random.default_rng(seed)
    index = np.concatenate([generator.permutation(examples) for _ in range(epochs)])
    step = np.arange(len(index)) // batch

    assert passes(index, step) == [(i * examples, (i + 1) * examples) for i in range(epochs)]


@given(steps=st.integers(2, 4), epochs=st.integers(2, 4), seed=st.integers(0, 10))
def test_epochs_without_their_remainder_are_passes(steps, epochs, seed):
    batch, generator = 4, np.random.default_rng(seed)
    used = steps * batch
    index = np.concatenate([generator.permutation(used + 3)[:used] for _ in range(epochs)])
    step = np.arange(len(index)) // batch

    assert passes(index, step) == [(i * used, (i + 1) * used) for i in range(epochs)]


def test_sampling_with_replacement_is_one_range():
    index = np.random.default_rng(0).integers(6, size=40)

    assert passes(index, np.arange(40) // 4) == [(0, 40)]


def test_order_zero_is_the_recorded_one(run):
    recorded = run.batches(1)
    first = run.log.stages[1].first_step

    found = ordered_examples(run, 1, seed=3, order=0)

    expected = np.concatenate([recorded.rows(first + k)[0].indices for k in range(7)])
    assert np.array_equal(found.index, expected)


@given(seed=st.integers(0, 2**32 - 1), order=st.integers(1, 50))
def test_an_order_permutes_the_examples_of_the_stage(run, seed, order):
    recorded = ordered_examples(run, 1, seed=seed, order=0)

    found = ordered_examples(run, 1, seed=seed, order=order)

    assert not np.array_equal(found.index, recorded.index)
    assert np.array_equal(np.sort(found.index), np.sort(recorded.index))
    assert np.array_equal(found.offsets, recorded.offsets)


def test_orders_differ_by_number_seed_and_stage(run):
    draws = {
        tuple(ordered_examples(run, stage, seed=seed, order=order).index.tolist())
        for stage in (0, 1)
        for seed in (0, 1)
        for order in (1, 2)
    }

    assert len(draws) == 8


def test_an_order_does_not_depend_on_the_intervention(run):
    plain = ordered_examples(run, 1, seed=0, order=2)
    vendor = Selection(columns={"source": ("vendor",)})
    drop = Intervention(kind="drop", stage="stage1", where=vendor, divisor="kept")

    dropped = intervened_examples(run, 1, intervention=drop, seed=0, order=2)
    skipped = intervened_examples(
        run, 1, intervention=Intervention(kind="skip", stage="stage1"), seed=0, order=2
    )

    assert np.array_equal(dropped.index, plain.index)
    assert np.array_equal(dropped.weights == 0, plain.index % 2 == 1)  # odd rows: the vendor's
    assert np.array_equal(skipped.index, plain.index)
