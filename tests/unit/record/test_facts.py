"""Modes of modules that decide what a forward pass computes."""

from typing import Literal

import pytest
import torch
from torch import nn

from auditor.record.facts import forward_facts


@pytest.mark.parametrize(
    ("norm", "training", "expected"),
    [
        (nn.Identity(), True, "none"),
        (nn.LayerNorm(3), True, "none"),
        (nn.BatchNorm1d(3), True, "batch"),
        (nn.BatchNorm1d(3), False, "running"),
        (nn.BatchNorm1d(3, track_running_stats=False), False, "batch"),
    ],
)
def test_batch_norm_mode(
    norm: nn.Module, training: bool, expected: Literal["none", "batch", "running"]
) -> None:
    model = nn.Sequential(nn.Linear(3, 3), norm).train(training)

    assert forward_facts(model).batch_norm == expected


@pytest.mark.parametrize(
    ("layer", "rates"),
    [
        (nn.Dropout(0.1), (0.1,)),
        (nn.Dropout(0.0), ()),
        (nn.AlphaDropout(0.2), (0.2,)),
        (nn.MultiheadAttention(4, 2, dropout=0.3), (0.3,)),
        (nn.LSTM(3, 3, num_layers=2, dropout=0.4), (0.4,)),
    ],
)
def test_dropout_counts_while_it_is_active(layer: nn.Module, rates: tuple[float, ...]) -> None:
    model = nn.Sequential(nn.Linear(3, 3), layer)

    assert forward_facts(model.train()).dropout == rates
    assert forward_facts(model.eval()).dropout == ()


def test_autocast_is_seen() -> None:
    model = nn.Linear(3, 3)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = forward_facts(model)

    assert inside.lower_precision == "bfloat16"
    assert forward_facts(model).lower_precision is None


def test_padding_row_of_an_embedding_is_noted() -> None:
    assert forward_facts(nn.Embedding(3, 2, padding_idx=0)).padding
    assert not forward_facts(nn.Embedding(3, 2)).padding


def test_batch_norms_of_one_mode_are_no_obstacle() -> None:
    norms = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2))

    assert forward_facts(norms.train()).obstacles == ()
    assert forward_facts(norms.eval()).obstacles == ()


def test_batch_norm_frozen_beside_others_is_named() -> None:
    norms = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2))
    assert forward_facts(norms.train()).running_norms == ()
    assert forward_facts(norms.eval()).running_norms == ()
    norms[0].train()

    facts = forward_facts(norms)

    assert (facts.batch_norm, facts.running_norms) == ("batch", ("1.running_mean",))
    assert facts.obstacles == ()


def test_cumulative_average_is_an_obstacle_only_in_training() -> None:
    norm = nn.Sequential(nn.BatchNorm1d(2, momentum=None))

    ((found, _),) = forward_facts(norm).obstacles

    assert "momentum=None" in found
    assert forward_facts(norm.eval()).obstacles == ()
