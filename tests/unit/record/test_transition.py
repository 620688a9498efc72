"""What changed between two stages, from two snapshots."""

import pytest
import torch
from torch import Tensor

from auditor.errors import UnsupportedError
from auditor.record.snapshot import Snapshot
from auditor.record.transition import state_change
from auditor.stagelog.log import ParameterInfo


def snapshot(tied: str | None = None, **values: float) -> Snapshot:
    """Return a state of parameters [1]; ``<slot>__<name>`` are optimizer tensors."""
    tensors: dict[str, Tensor] = {}
    slots: dict[str, Tensor] = {}
    for key, value in values.items():
        target = slots if "__" in key else tensors
        target[key.replace("__", "/")] = torch.tensor([value])
    infos = {name: ParameterInfo(shape=(1,), dtype="float32") for name in tensors}
    if tied is not None:
        infos["alias"] = ParameterInfo(shape=(1,), dtype="float32", tied_to=tied)
    return Snapshot(infos=infos, tensors=tensors, slots=slots)


def test_nothing_changed() -> None:
    change = state_change(snapshot(a=1), snapshot(a=1), stage="s")

    assert (change.optimizer, change.added, change.removed) == ("reset", (), ())


def test_new_and_gone_and_changed_parameters() -> None:
    change = state_change(snapshot(a=1, b=2, c=3), snapshot(a=1, b=5, d=4), stage="s")

    assert change.added == ("b", "d")
    assert change.removed == ("b", "c")
    assert {name: value.item() for name, value in change.values.items()} == {"b": 5, "d": 4}


def test_alias_comes_and_goes_with_its_owner_and_has_no_value() -> None:
    change = state_change(snapshot(b=1), snapshot(a=1, b=1, tied="a"), stage="s")

    assert change.added == ("a", "alias")
    assert set(change.values) == {"a"}


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({"a": 1, "m__a": 2}, {"a": 1, "m__a": 2}, "keep"),
        ({"a": 1, "m__a": 2}, {"a": 1}, "reset"),
        ({"a": 1}, {"a": 1}, "reset"),
        ({"a": 1, "b": 1, "m__a": 2, "m__b": 3}, {"a": 1, "m__a": 2}, "keep"),
        ({"a": 1, "b": 1, "m__a": 2, "m__b": 3}, {"a": 1, "b": 2, "m__a": 2}, "keep"),
    ],
)
def test_optimizer_is_kept_when_its_whole_state_is(
    before: dict[str, float], now: dict[str, float], expected: str
) -> None:
    change = state_change(snapshot(**before), snapshot(**now), stage="s")

    assert change.optimizer == expected


@pytest.mark.parametrize(
    "now",
    [
        {"a": 1, "b": 1, "m__a": 2.5, "m__b": 3},
        {"a": 1, "b": 1, "m__a": 2},
        {"a": 9, "b": 1, "m__a": 2, "m__b": 3},
    ],
    ids=["changed", "part_of_it", "of_a_parameter_with_new_values"],
)
def test_optimizer_state_in_between_is_refused(now: dict[str, float]) -> None:
    before = snapshot(a=1, b=1, m__a=2, m__b=3)

    with pytest.raises(UnsupportedError, match="optimizer state m/"):
        state_change(before, snapshot(**now), stage="s")
