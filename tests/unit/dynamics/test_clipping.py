"""Clipping is torch's, counts trained parameters only, and scales a sub-sample's noise along."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from auditor.dynamics.clipping import clipped
from auditor.stagelog.log import Clipping

LIMITS = st.floats(1e-3, 1e3)
ENTRIES = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8)


@given(entries=ENTRIES, limit=LIMITS)
def test_norm_is_clipped_as_torch_does(entries: list[float], limit: float) -> None:
    gradient = torch.tensor(entries, dtype=torch.float64)
    parameter = torch.zeros_like(gradient, requires_grad=True)
    parameter.grad = gradient.clone()
    clip_grad_norm_([parameter], limit)

    ours, _ = clipped(
        gradient, None, clipping=Clipping(kind="norm", limit=limit), trained=len(entries)
    )

    torch.testing.assert_close(ours, parameter.grad, rtol=1e-12, atol=1e-300)


@given(entries=ENTRIES, limit=LIMITS)
def test_values_are_clipped_as_torch_does(entries: list[float], limit: float) -> None:
    gradient = torch.tensor(entries, dtype=torch.float64)
    parameter = torch.zeros_like(gradient, requires_grad=True)
    parameter.grad = gradient.clone()
    clip_grad_value_([parameter], limit)

    ours, _ = clipped(
        gradient, None, clipping=Clipping(kind="value", limit=limit), trained=len(entries)
    )

    assert torch.equal(ours, parameter.grad)


def test_frozen_parameters_have_no_part_in_the_norm() -> None:
    gradient = torch.tensor([3.0, 4.0, 100.0], dtype=torch.float64)

    ours, _ = clipped(gradient, None, clipping=Clipping(kind="norm", limit=1.0), trained=2)

    torch.testing.assert_close(ours[:2].norm(), torch.tensor(1.0, dtype=torch.float64))


def test_noise_shrinks_with_the_gradient() -> None:
    gradient = torch.tensor([3.0, 4.0], dtype=torch.float64)
    noise = torch.tensor([1.0, 2.0], dtype=torch.float64)

    _, by_norm = clipped(gradient, noise, clipping=Clipping(kind="norm", limit=0.5), trained=2)
    _, by_value = clipped(gradient, noise, clipping=Clipping(kind="value", limit=3.5), trained=2)
    nothing = clipped(gradient, noise, clipping=None, trained=2)

    torch.testing.assert_close(by_norm, noise / 100, rtol=1e-6, atol=0)
    torch.testing.assert_close(by_value, torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert nothing[0] is gradient
    assert nothing[1] is noise


@pytest.mark.parametrize("scale", [0.0, 0.1, 10.0])
def test_derivative_is_that_of_the_factor_too(scale: float) -> None:
    clipping = Clipping(kind="norm", limit=1.0)
    gradient = scale * torch.tensor([0.3, -0.8, 0.5], dtype=torch.float64)
    direction = torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64)

    def value(at: torch.Tensor) -> torch.Tensor:
        return clipped(at, None, clipping=clipping, trained=3)[0]

    tangent = torch.func.jvp(value, (gradient,), (direction,))[1]

    h = 1e-6
    difference = (value(gradient + h * direction) - value(gradient - h * direction)) / (2 * h)
    torch.testing.assert_close(tangent, difference, rtol=1e-6, atol=1e-8)
