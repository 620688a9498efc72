"""The examples that a curvature is computed from."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import final

import torch
from torch import Tensor

EXACT_OUTPUTS = 32
"""Up to how many output entries an example's curvature is summed over a basis, not sampled."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class CurvatureSample:
    """Examples with what each adds to the curvature.

    Attributes:
        inputs: Graph inputs, [n, *shape] each.
        target: [n, ...].
        factors: c: the curvature is the sum of c_i times example i's, [n].
        directions: Of the output curvature, [n, R, *output]; the sum over R stands for the sum
            over a basis.
    """

    inputs: tuple[Tensor, ...]
    target: Tensor
    factors: Tensor
    directions: Tensor


def output_directions(
    shape: tuple[int, ...], *, like: Tensor, draw: Callable[[tuple[int, ...]], Tensor]
) -> Tensor:
    """Return the directions of the output curvature of n examples, [n, R, *output].

    A basis where the output has at most ``EXACT_OUTPUTS`` entries, so that nothing is random;
    one row of random signs otherwise, whose expected outer product is the identity.

    Args:
        shape: [n, *output].
        like: For dtype and device.
        draw: Returns random signs (-1 or 1) of a shape.
    """
    examples, *output = shape
    size = prod(output)
    if size > EXACT_OUTPUTS:
        return draw((examples, 1, *output)).to(like)
    basis = torch.eye(size, dtype=like.dtype, device=like.device).reshape(size, *output)
    return basis.expand(examples, *basis.shape)
