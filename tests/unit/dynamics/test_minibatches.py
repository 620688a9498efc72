"""Minibatches of lanes: rows, weights and denominators."""

import pytest
import torch

from auditor.dynamics.minibatches import Lane, StageBatches
from auditor.dynamics.run import Run
from auditor.errors import DomainError, InternalError, UnsupportedError
from auditor.plan.request import Intervention, Reference, Selection
from tests.support.cases import CASES, make_columns, make_run

DROP = Intervention(
    kind="drop", stage="stage1", where=Selection(columns={"source": ("b",)}), divisor="kept"
)


@pytest.fixture(scope="module")
def run() -> Run:
    return make_run(CASES["sgd"])


def test_mean_divides_by_the_examples_used(run: Run) -> None:
    whole = StageBatches(run, 1, lanes=[Lane()]).block(0, 4, lanes=(0,))
    half = StageBatches(run, 1, lanes=[Lane(fraction=0.5)]).block(0, 4, lanes=(0,))

    assert whole.denominator.tolist() == [4.0] * 4
    assert half.denominator.tolist() == [2.0] * 4
    assert half.weights.shape == (4, 2)


def test_kept_drop_scales_the_divisor_with_the_fraction_only(run: Run) -> None:
    batches = StageBatches(run, 1, lanes=[Lane(DROP, fraction=0.5)])

    block = batches.block(0, 4, lanes=(0,))

    assert block.denominator.tolist() == [2.0] * 4
    assert set(block.weights.unique().tolist()) <= {0.0, 1.0}


def test_expected_gradient_weight_is_that_of_the_whole_batch(run: Run) -> None:
    # Sum of w / D over a kept drop: the mean over many replicas is that of the whole batch. One
    # sub-sample of 2 of 4 has a standard deviation of at most 0.3 here; 600 replicas: 0.012.
    whole = StageBatches(run, 1, lanes=[Lane(DROP)]).block(0, 4, lanes=(0,))
    lanes = [Lane(DROP, fraction=0.5, replica=r) for r in range(600)]
    half = StageBatches(run, 1, lanes=lanes).block(0, 4, lanes=tuple(range(600)))

    expected = whole.weights.sum(-1) / whole.denominator  # [4]
    found = (half.weights.sum(-1) / half.denominator[:, None]).mean(1)
    torch.testing.assert_close(found, expected, rtol=0.0, atol=0.06)


def test_subsample_positions_do_not_depend_on_the_intervention(run: Run) -> None:
    own = Intervention(
        kind="replace", stage="stage1", reference=Reference(dataset="data", order="recorded")
    )
    batches = StageBatches(run, 1, lanes=[Lane(fraction=0.5), Lane(own, fraction=0.5)])

    block = batches.block(0, 4, lanes=(0, 1))

    assert torch.equal(block.inputs[0][:, 0], block.inputs[0][:, 1])


def test_lanes_with_the_same_examples_share_them(run: Run) -> None:
    skip = Intervention(kind="skip", stage="stage1")
    batches = StageBatches(run, 1, lanes=[Lane(), Lane(skip), Lane(DROP)])

    assert batches.shared((0, 1))
    assert not batches.shared((0, 2))
    assert batches.block(0, 4, lanes=(0, 1)).target.shape == (4, 4)
    assert batches.block(0, 4, lanes=(0, 2)).target.shape == (4, 2, 4)


def test_weight_column_multiplies(run: Run) -> None:
    columns = make_columns(24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    columns["importance"] = torch.arange(24, dtype=torch.float64)
    plain = make_run(CASES["sgd"], columns=columns)
    stage = plain.log.stages[1]
    bound = stage.model_copy(
        update={"bindings": stage.bindings.model_copy(update={"weight": "importance"})}
    )
    stages = (plain.log.stages[0], bound, plain.log.stages[2])
    run = Run(
        plain.log.model_copy(update={"stages": stages}),
        plain.log_digest,
        plain.blobs,
        model_of=lambda _run, index: plain.computations(index),
    )

    block = StageBatches(run, 1, lanes=[Lane()]).block(0, 1, lanes=(0,))

    assert block.weights[0].tolist() == run.batches(1).rows(5)[0].indices.astype(float).tolist()


def test_lane_of_another_stage_is_refused(run: Run) -> None:
    with pytest.raises(InternalError, match="stage0"):
        StageBatches(run, 0, lanes=[Lane(DROP)])


@pytest.mark.parametrize("fraction", [0.0, 1.5])
def test_fraction_outside_its_range_is_refused(run: Run, fraction: float) -> None:
    with pytest.raises(DomainError, match="fraction"):
        StageBatches(run, 1, lanes=[Lane(fraction=fraction)])


def test_token_mask_is_refused_by_name(run: Run) -> None:
    stage = run.log.stages[1]
    masked = stage.model_copy(
        update={"bindings": stage.bindings.model_copy(update={"mask": "group"})}
    )
    log = run.log.model_copy(update={"stages": (run.log.stages[0], masked, run.log.stages[2])})

    with pytest.raises(UnsupportedError, match="mask"):
        StageBatches(Run(log, run.log_digest, run.blobs), 1, lanes=[Lane()])
