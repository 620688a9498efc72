"""Training states: stacking, and the encodings of state blobs and checkpoints."""

import pytest
import torch

from auditor.dynamics.state import (
    TrainingState,
    recorded_state,
    stack,
    state_from_tensors,
    state_tensors,
    unstack,
)
from auditor.errors import InternalError, ShapeError, StageLogError
from auditor.model.layout import ParameterLayout
from auditor.model.tensors import read_tensors, write_tensors

LAYOUT = ParameterLayout(("a.w", "b"), ((2, 2), ()))


def make_state(seed: int = 0) -> TrainingState:
    generator = torch.Generator().manual_seed(seed)
    return TrainingState(
        theta=torch.randn(5, generator=generator),
        slots={"exp_avg": torch.randn(5, generator=generator), "count": torch.tensor([3.0, 1.5])},
        buffers={"mean": torch.randn(2, generator=generator)},
    )


def test_state_blob_round_trips() -> None:
    state = make_state()

    data = write_tensors(state_tensors(state, LAYOUT))
    again = state_from_tensors(read_tensors(data, where="state"), LAYOUT)

    assert all(torch.equal(a, b) for a, b in zip(state.tensors, again.tensors, strict=True))
    assert sorted(again.slots) == ["count", "exp_avg"]


def test_state_blob_names_tensors_by_kind() -> None:
    assert sorted(state_tensors(make_state(), LAYOUT)) == [
        "buffers/mean", "optimizer/count/a.w", "optimizer/count/b", "optimizer/exp_avg/a.w",
        "optimizer/exp_avg/b", "parameters/a.w", "parameters/b",
    ]  # fmt: skip


def test_unknown_name_in_a_state_is_refused() -> None:
    tensors = {**state_tensors(make_state(), LAYOUT), "secret": torch.zeros(1)}

    with pytest.raises(StageLogError, match="secret"):
        state_from_tensors(tensors, LAYOUT)


@pytest.mark.parametrize("name", ["parameters/b", "optimizer/exp_avg/a.w"])
def test_missing_tensor_is_refused(name: str) -> None:
    tensors = state_tensors(make_state(), LAYOUT)
    del tensors[name]

    with pytest.raises(ShapeError):
        state_from_tensors(tensors, LAYOUT)


def test_missing_count_is_refused() -> None:
    tensors = state_tensors(make_state(), LAYOUT)
    del tensors["optimizer/count/b"]

    with pytest.raises(StageLogError, match="count"):
        state_from_tensors(tensors, LAYOUT)


def test_checkpoint_has_zeros_where_the_optimizer_had_nothing() -> None:
    parameters = {
        "a.w": torch.ones(2, 2), "b": torch.tensor(2.0), "mean": torch.ones(3),
        "seen": torch.tensor(7),
    }  # fmt: skip
    optimizer = {"momentum_buffer/b": torch.tensor(5.0), "initialised/b": torch.tensor(1.0)}

    state = recorded_state(
        parameters, optimizer, layout=LAYOUT, buffer_names=frozenset({"mean", "seen"})
    )

    assert state.slots["momentum_buffer"].tolist() == [0.0, 0.0, 0.0, 0.0, 5.0]
    assert state.slots["initialised"].tolist() == [0.0, 1.0]
    assert sorted(state.buffers) == ["mean"]


def test_unstack_inverts_stack() -> None:
    states = [make_state(0), make_state(1)]

    again = unstack(stack(states))

    for state, other in zip(states, again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(state.tensors, other.tensors, strict=True))


def test_replacing_with_other_tensors_is_a_bug() -> None:
    with pytest.raises(InternalError):
        make_state().replaced([torch.zeros(5)])
