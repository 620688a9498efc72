"""Masks that are functions of their place: reproducible, independent, and part of any transform."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from auditor.errors import ShapeError
from auditor.model.keyed_dropout import keyed_dropout, slot_keys

ENTRIES = 4096


def keys_of(*, seed: int = 0, step: int = 0, count: int = 64) -> Tensor:
    return torch.from_numpy(slot_keys(seed, step=step, count=count))


def kept(keys: Tensor, *, site: int = 1, rate: float = 0.5) -> Tensor:
    """Return which entries are kept, [B, entries], as 0 and 1."""
    values = torch.ones(len(keys), ENTRIES, dtype=torch.float64)
    return keyed_dropout(values, keys, site=site, rate=rate) * (1 - rate)


@given(st.integers(0, 2**53 - 1), st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 40))
def test_the_key_of_a_place_does_not_depend_on_how_many_there_are(
    seed: int, step: int, few: int, more: int
) -> None:
    long = slot_keys(seed, step=step, count=few + more)

    assert np.array_equal(slot_keys(seed, step=step, count=few), long[:few])
    assert long.dtype == np.int64


def test_the_masks_are_what_they_were_in_the_first_release() -> None:
    """A log holds only the seed: other bits would make every such log inconsistent."""
    assert slot_keys(7, step=3, count=2).tolist() == FIRST_KEYS
    found = keyed_dropout(torch.ones(2, 8), keys_of(seed=7, step=3, count=2), site=2, rate=0.5)
    assert (found / 2).int().tolist() == FIRST_MASK


FIRST_KEYS = [-3249951160552785984, 7292105026997536464]
FIRST_MASK = [[0, 1, 1, 1, 1, 1, 0, 0], [1, 0, 0, 0, 1, 1, 1, 0]]


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.5, 0.9])
def test_the_rate_is_met_and_the_mean_kept(rate: float) -> None:
    part = kept(keys_of(), rate=rate).mean()
    error = (rate * (1 - rate) / (64 * ENTRIES)) ** 0.5

    assert float(part) == pytest.approx(1 - rate, abs=3 * error)


def test_masks_of_neighbours_are_uncorrelated() -> None:
    """Between places, steps, seeds, sites and entries, to four standard errors."""
    one = kept(keys_of()) - 0.5
    others = {
        "places": one.roll(1, dims=0),
        "entries": one.roll(1, dims=1),
        "rows of 64": one.roll(64, dims=1),
        "steps": kept(keys_of(step=1)) - 0.5,
        "seeds": kept(keys_of(seed=1)) - 0.5,
        "sites": kept(keys_of(), site=2) - 0.5,
    }

    for name, other in others.items():
        correlation = float((one * other).mean()) * 4
        assert abs(correlation) < 4 / (64 * ENTRIES) ** 0.5, name
    per_entry = (one.sum(0) / 4).square().mean()  # the variance of 64 fair coins, in units of it
    assert float(per_entry) == pytest.approx(1.0, abs=0.1)


def test_a_part_of_the_examples_has_its_own_rows_of_the_mask() -> None:
    keys, values = keys_of(count=6), torch.randn(6, 3, 5)
    whole = keyed_dropout(values, keys, site=1, rate=0.3)
    some = torch.tensor([4, 1])

    assert torch.equal(keyed_dropout(values[some], keys[some], site=1, rate=0.3), whole[some])
    rows = keyed_dropout(values.flatten(0, 1), keys, site=1, rate=0.3)
    assert torch.equal(rows, whole.flatten(0, 1))


def test_lanes_and_derivatives() -> None:
    keys = torch.stack([keys_of(count=4), keys_of(step=1, count=4)])
    values = torch.randn(2, 4, 7, dtype=torch.float64)

    def drop(lane: Tensor, own: Tensor) -> Tensor:
        return keyed_dropout(lane, own, site=3, rate=0.4)

    lanes = torch.func.vmap(drop)(values, keys)
    for index in range(2):
        assert torch.equal(lanes[index], drop(values[index], keys[index]))
    slope = torch.func.vmap(torch.func.grad(lambda v, k: drop(v, k).sum()))(values, keys)
    torch.testing.assert_close(slope * values, lanes)


@pytest.mark.parametrize("shape", [(), (7, 2)])
def test_rows_that_belong_to_no_example_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="dropout 1"):
        keyed_dropout(torch.ones(shape), keys_of(count=4), site=1, rate=0.5)
