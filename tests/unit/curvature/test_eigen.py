"""The eigenbasis form: an orthogonal change of coordinates, and functions of eigenvalues."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from auditor.curvature.eigen import EigenCurvature, KroneckerBasis
from auditor.model.layout import ParameterLayout
from auditor.model.traced import trace

F64 = torch.float64
LAYOUT = ParameterLayout(
    ("scale", "conv", "bias", "table", "plain"), ((3,), (2, 3, 2, 2), (2,), (5, 4), (4, 3))
)


def orthogonal(size: int, *, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=F64))[0]


def basis(
    weight: str,
    bias: str | None,
    shape: tuple[int, ...],
    *,
    transposed: bool,
    sizes: tuple[int, int],
) -> KroneckerBasis:
    outputs, inputs = sizes
    return KroneckerBasis(
        weight=weight,
        bias=bias,
        shape=shape,
        transposed=transposed,
        outputs=orthogonal(outputs, seed=outputs),
        inputs=orthogonal(inputs, seed=inputs) if inputs else None,
    )


CURVATURE = EigenCurvature(
    layout=LAYOUT,
    bases=(
        basis("conv", "bias", (2, 3, 2, 2), transposed=False, sizes=(2, 13)),
        basis("table", None, (5, 4), transposed=True, sizes=(4, 0)),
        basis("plain", None, (4, 3), transposed=True, sizes=(3, 4)),
    ),
    eigenvalues=torch.rand(LAYOUT.size, generator=torch.Generator().manual_seed(0), dtype=F64),
    diagonal=torch.ones(LAYOUT.size, dtype=F64),
)
VECTORS = torch.randn(4, LAYOUT.size, generator=torch.Generator().manual_seed(1), dtype=F64)


def dense() -> Tensor:
    """Return Q diag(lambda) Q^T from Q's own columns."""
    q = CURVATURE.from_eigenbasis(torch.eye(LAYOUT.size, dtype=F64)).T
    return q @ torch.diag(CURVATURE.eigenvalues) @ q.T


def test_the_change_of_coordinates_is_orthogonal() -> None:
    there = CURVATURE.to_eigenbasis(VECTORS)

    torch.testing.assert_close(CURVATURE.from_eigenbasis(there), VECTORS)
    torch.testing.assert_close(there @ there.T, VECTORS @ VECTORS.T)


def test_product_is_that_of_the_matrix() -> None:
    torch.testing.assert_close(CURVATURE.product(VECTORS), VECTORS @ dense())


def test_a_block_is_the_kronecker_product_of_its_bases() -> None:
    block = CURVATURE.bases[0]
    first, size = 3, 24

    q = CURVATURE.from_eigenbasis(torch.eye(LAYOUT.size, dtype=F64))[first : first + size]

    assert block.inputs is not None
    expected = torch.kron(block.outputs, block.inputs)  # rows (g, a) to columns (g, a)
    keep = torch.arange(26).reshape(2, 13)[:, :-1].reshape(-1)
    torch.testing.assert_close(q[:, first : first + size], expected[keep][:, keep].T)


@pytest.mark.parametrize("transform", ["vmap", "trace", "jvp"])
def test_products_run_inside_transforms(transform: str) -> None:
    match transform:
        case "vmap":
            found = torch.func.vmap(CURVATURE.product)(VECTORS)
        case "trace":
            found = trace(torch.func.vmap(CURVATURE.product), (VECTORS,))(VECTORS)
        case _:
            found = torch.func.jvp(CURVATURE.product, (VECTORS,), (VECTORS,))[1]

    one_by_one = torch.stack([CURVATURE.product(v) for v in VECTORS])
    torch.testing.assert_close(found, one_by_one, rtol=1e-12, atol=1e-14)


@given(st.floats(0, 5), st.floats(0, 5))
def test_exponentials_compose(first: float, second: float) -> None:
    def decayed(vector: Tensor, time: float) -> Tensor:
        return CURVATURE.spectral(vector, lambda eigenvalues: torch.exp(-time * eigenvalues))

    twice = decayed(decayed(VECTORS, first), second)

    torch.testing.assert_close(twice, decayed(VECTORS, first + second), rtol=1e-10, atol=1e-12)


def test_exponential_is_that_of_the_matrix() -> None:
    found = CURVATURE.spectral(VECTORS, lambda eigenvalues: torch.exp(-2 * eigenvalues))

    torch.testing.assert_close(found, VECTORS @ torch.linalg.matrix_exp(-2 * dense()))
