"""``with_recorded_dropout``: what it replaces, keeps and refuses."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from auditor.errors import DomainError, UnsupportedError
from auditor.record.dropout import recorded_dropouts, with_recorded_dropout


def network() -> nn.Module:
    inner = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.25))
    return nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), inner)


def test_modules_are_replaced_in_place_and_parameters_keep_their_names() -> None:
    model = network()
    names = list(model.state_dict())

    assert with_recorded_dropout(model) is model
    assert list(model.state_dict()) == names
    sites = recorded_dropouts(model)
    assert {name: (one.site, one.rate) for name, one in sites.items()} == {
        "1": (1, 0.5), "2.1": (2, 0.25),
    }  # fmt: skip


def test_outside_of_a_stage_it_is_the_dropout_of_torch() -> None:
    model = with_recorded_dropout(nn.Sequential(nn.Dropout(0.5)))
    x = torch.randn(4, 6)

    torch.manual_seed(1)
    found = model(x)
    torch.manual_seed(1)

    assert torch.equal(found, functional.dropout(x, 0.5))
    assert torch.equal(model.eval()(x), x)


@pytest.mark.parametrize(
    "layer",
    [nn.Dropout2d(0.1), nn.AlphaDropout(0.1), nn.MultiheadAttention(4, 2, dropout=0.1),
     nn.LSTM(3, 3, num_layers=2, dropout=0.1)],
    ids=lambda layer: type(layer).__name__,
)  # fmt: skip
def test_other_kinds_are_refused_by_name(layer: nn.Module) -> None:
    with pytest.raises(UnsupportedError, match=f"module '0'.*{type(layer).__name__}"):
        with_recorded_dropout(nn.Sequential(layer))


def test_a_rate_of_one_is_refused() -> None:
    with pytest.raises(DomainError, match="below 1"):
        with_recorded_dropout(nn.Sequential(nn.Dropout(1.0)))
