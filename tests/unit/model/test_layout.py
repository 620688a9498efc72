import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import ShapeError
from auditor.model.layout import ParameterLayout

LAYOUT = ParameterLayout(("w", "scalar", "empty", "b"), ((2, 3), (), (0, 4), (2,)))
SHAPES = st.lists(st.lists(st.integers(0, 3), max_size=3).map(tuple), min_size=1, max_size=5)


@given(shapes=SHAPES, lanes=st.lists(st.integers(1, 3), max_size=2))
def test_flatten_undoes_unflatten(shapes: list[tuple[int, ...]], lanes: list[int]) -> None:
    layout = ParameterLayout(tuple(str(i) for i in range(len(shapes))), tuple(shapes))
    theta = torch.arange(torch.Size((*lanes, layout.size)).numel(), dtype=torch.float64)
    theta = theta.reshape(*lanes, layout.size)

    named = layout.unflatten(theta)

    assert torch.equal(layout.flatten(named), theta)
    assert all(tuple(named[str(i)].shape) == (*lanes, *shape) for i, shape in enumerate(shapes))


def test_unflatten_follows_order_of_names() -> None:
    named = LAYOUT.unflatten(torch.arange(9.0))

    assert named["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert named["scalar"].item() == 6
    assert named["b"].tolist() == [7, 8]


def test_expand_repeats_each_number_over_its_parameter() -> None:
    per_tensor = torch.tensor([[1.0, 2.0, 3.0, 4.0]])

    assert LAYOUT.expand(per_tensor).tolist() == [[1, 1, 1, 1, 1, 1, 2, 4, 4]]


def test_flatten_differentiates_under_vmap() -> None:
    def squares(theta: torch.Tensor) -> torch.Tensor:
        return LAYOUT.flatten(LAYOUT.unflatten(theta)).square().sum()

    theta = torch.randn(3, 9, generator=torch.Generator().manual_seed(0))

    assert torch.equal(torch.func.vmap(torch.func.grad(squares))(theta), 2 * theta)


def test_flatten_names_the_first_parameter_that_differs() -> None:
    named = LAYOUT.unflatten(torch.zeros(9)) | {"b": torch.zeros(3)}

    with pytest.raises(ShapeError, match=r"parameters\[b\]: expected a tensor of shape \(2,\)"):
        LAYOUT.flatten(named)


def test_flatten_refuses_a_missing_parameter() -> None:
    with pytest.raises(ShapeError, match=r"parameters\[scalar\].*found none"):
        LAYOUT.flatten({"w": torch.zeros(2, 3)})


def test_flatten_refuses_different_lanes() -> None:
    named = LAYOUT.unflatten(torch.zeros(4, 9)) | {"b": torch.zeros(5, 2)}

    with pytest.raises(ShapeError, match=r"parameters\[b\]: expected leading axes \(4,\)"):
        LAYOUT.flatten(named)


@pytest.mark.parametrize("names", [("a",), ("a", "a")])
def test_layout_refuses_names_that_do_not_fit(names: tuple[str, ...]) -> None:
    with pytest.raises(ShapeError):
        ParameterLayout(names, ((1,), (2,)))


def test_unflatten_refuses_another_size() -> None:
    with pytest.raises(ShapeError, match="last axis of 9"):
        LAYOUT.unflatten(torch.zeros(8))
