"""Rows of a stage: microbatches, weights, and steps that do not match their batches."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from auditor.errors import StageLogError
from auditor.record.steps import StepTable
from auditor.stagelog.batches import BatchRow


def table(**changes: Any) -> StepTable:
    values = {
        "stage": "s", "first_step": 3, "kind": "sgd", "names": {}, "accumulation": 1, "mean": True,
    }  # fmt: skip
    return StepTable(**(values | changes))


def row(size: int, **changes: Any) -> BatchRow:
    return BatchRow(**({"dataset": "d", "indices": np.arange(size)} | changes))


def optimizer(names: dict[int, str]) -> torch.optim.Optimizer:
    layer = nn.Linear(2, 1)
    layer(torch.ones(1, 2)).sum().backward()
    names |= {id(parameter): name for name, parameter in layer.named_parameters()}
    return torch.optim.SGD(layer.parameters(), lr=0.1)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(4, 6))
def test_weights_make_one_mean_of_the_microbatch_means(sizes: list[int], parts: int) -> None:
    """sum_m mean_m / A, which the loop computes, equals sum_i w_i l_i / n, which a log means."""
    names: dict[int, str] = {}
    steps = table(accumulation=parts, names=names)
    for size in sizes:
        steps.declare(row(size), microbatch=None)
    losses = [np.linspace(1, 2, size) ** (1 + part) for part, size in enumerate(sizes)]

    steps.begin_step(optimizer(names))

    rows = steps.rows[0]
    weights = [np.ones(len(r.indices)) if r.weights is None else r.weights for r in rows]
    logged = sum(float(w @ loss) for w, loss in zip(weights, losses, strict=True)) / sum(sizes)
    assert logged == pytest.approx(sum(loss.mean() for loss in losses) / parts, rel=1e-12)


def test_equal_microbatches_need_no_weights() -> None:
    names: dict[int, str] = {}
    steps = table(accumulation=2, names=names)
    steps.declare(row(4), microbatch=None)
    steps.declare(row(4), microbatch=None)

    steps.begin_step(optimizer(names))

    assert [(r.microbatch, r.weights) for r in steps.rows[0]] == [(0, None), (1, None)]


def test_sum_needs_no_weights() -> None:
    names: dict[int, str] = {}
    steps = table(accumulation=2, mean=False, names=names)
    steps.declare(row(4), microbatch=None)
    steps.declare(row(2), microbatch=None)

    steps.begin_step(optimizer(names))

    assert [r.weights for r in steps.rows[0]] == [None, None]


def test_more_microbatches_than_declared_are_refused() -> None:
    steps = table(accumulation=2)
    steps.declare(row(1), microbatch=None)
    steps.declare(row(1), microbatch=None)

    with pytest.raises(StageLogError, match="step 3: expected at most accumulation=2"):
        steps.declare(row(1), microbatch=None)


def test_mixture_within_a_microbatch_is_named_by_the_caller() -> None:
    steps = table(accumulation=2)
    steps.declare(row(1), microbatch=0)
    steps.declare(row(1, dataset="e"), microbatch=0)

    with pytest.raises(StageLogError, match="a second batch of 'e'"):
        steps.declare(row(1, dataset="e"), microbatch=0)


def test_stage_without_steps_is_refused() -> None:
    with pytest.raises(StageLogError, match="at least one step"):
        table().require_complete()
