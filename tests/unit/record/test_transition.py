"""What changed between two stages, from two snapshots."""

import weakref
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

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


def held(names: dict[str, nn.Parameter]) -> Snapshot:
    """Return a state that knows which objects its tensors are copies of."""
    return Snapshot(
        infos={n: ParameterInfo(shape=tuple(p.shape), dtype="float32") for n, p in names.items()},
        tensors={name: p.detach().clone() for name, p in names.items()},
        slots={},
        holders={name: weakref.ref(p) for name, p in names.items()},
    )


def test_same_object_under_another_name_is_renamed() -> None:
    weight, bias, other = (nn.Parameter(torch.zeros(2)) for _ in range(3))

    change = state_change(
        held({"a.weight": weight, "b.weight": bias}),
        held({"a.base.weight": weight, "b.weight": bias, "a.lora": other}),
        stage="s",
    )

    assert change.renamed == {"a.base.weight": "a.weight"}
    assert (change.added, change.removed) == (("a.lora",), ())


def test_only_equal_tensor_is_renamed_and_zeros_are_not() -> None:
    before = {"a.weight": torch.tensor([1.0, 2.0]), "a.bias": torch.zeros(2)}
    now = {"c.weight": torch.tensor([1.0, 2.0]), "c.bias": torch.zeros(2)}

    change = state_change(
        *(
            Snapshot(
                infos={n: ParameterInfo(shape=(2,), dtype="float32") for n in tensors},
                tensors=tensors,
                slots={},
            )
            for tensors in (before, now)
        ),
        stage="s",
    )

    assert change.renamed == {"c.weight": "a.weight"}
    assert (change.added, change.removed) == (("c.bias",), ("a.bias",))


def test_optimizer_state_is_kept_under_a_new_name() -> None:
    weight = nn.Parameter(torch.ones(2))
    before = replace(held({"a": weight}), slots={"m/a": torch.tensor([3.0, 4.0])})
    now = replace(held({"b": weight}), slots={"m/b": torch.tensor([3.0, 4.0])})

    change = state_change(before, now, stage="s")

    assert (change.optimizer, change.renamed) == ("keep", {"b": "a"})
