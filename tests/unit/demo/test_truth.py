"""The exact truth: plain retraining, over several seeds."""

import pytest
import torch

from service.demo.claims import CLEAR_FACTOR, PLANTING_STAGE
from service.demo.training import BATCH_EXAMPLES, STEPS, Pipeline, batch_order, plan_pipeline
from service.demo.truth import CUE, exact_effects, query_values, retrain


def make_rows(pipeline: Pipeline) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    size = len(pipeline.data.reference.label)
    return {s: batch_order(size, steps=n, generator=generator) for s, n in STEPS.items()}


def test_batches_are_whole_epochs_in_new_orders() -> None:
    rows = batch_order(100, steps=5, generator=torch.Generator().manual_seed(0))

    assert rows.shape == (5, BATCH_EXAMPLES)
    assert sorted(rows.flatten()[:100].tolist()) == list(range(100))
    assert rows.flatten()[:100].tolist() != rows.flatten()[100:200].tolist()


def test_retraining_the_same_batches_gives_the_same_network() -> None:
    pipeline = plan_pipeline(0)

    one, other = (retrain(pipeline, pipeline.batches) for _ in range(2))

    assert query_values(one, pipeline.data) == query_values(other, pipeline.data)


# Not by luck of one seed: 24 of 24 seeds held in a study, the smallest factor was 7.4.
@pytest.mark.parametrize("seed", range(5))
def test_replace_names_the_vendor_and_skip_does_not_clear_pretraining(seed: int) -> None:
    pipeline = plan_pipeline(seed)
    final = retrain(pipeline, pipeline.batches)

    truth = exact_effects(pipeline, final=final, reference_rows=make_rows(pipeline))

    planted = truth[CUE, "replace", PLANTING_STAGE]
    others = [abs(truth[CUE, "replace", stage]) for stage in ("pretrain", "finetune")]
    assert planted > CLEAR_FACTOR * max(others)
    assert truth[CUE, "skip", "pretrain"] > max(others)
