"""Kronecker factors of K-FAC: second moments of activations and of their gradients."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from auditor.curvature.signals import Signals
from auditor.model.sites import Site


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Factors:
    """One site's factors, float64.

    Attributes:
        inputs: A = sum over examples and positions of a a^T, [a, a], where a ends with a 1 if
            the bias is joined; None for a table, where A is diagonal.
        outputs: G = sum over examples, directions and positions of g g^T, [g, g].
    """

    inputs: Tensor | None
    outputs: Tensor


def kronecker_factors(sites: Iterable[Site], signals: Iterable[Signals]) -> dict[str, Factors]:
    """Return A and G of every site, by weight, summed: EK-FAC uses their eigenvectors only.

    K-FAC's *expand* setting for weights that are shared over positions (convolutions, sequences).

    Args:
        sites: Of the weights wanted.
        signals: Of all examples.

    References:
        Martens and Grosse (2015), arXiv 1503.05671; Grosse and Martens (2016), arXiv 1602.01407,
        for convolutions; Eschenhagen et al. (2023), arXiv 2311.00636, for shared weights.
    """
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    own = tuple(sites)
    for chunk in signals:
        for site in own:
            name = site.weight
            gradient = chunk.gradients[name].flatten(0, -2)  # [n R T, g]
            outputs[name] = outputs.get(name, 0) + (gradient.mT @ gradient).double()
            if site.kind != "embedding":
                activation = joined(site, chunk.activations[name]).flatten(0, -2)  # [n T, a]
                inputs[name] = inputs.get(name, 0) + (activation.mT @ activation).double()
    return {
        site.weight: Factors(inputs=inputs.get(site.weight), outputs=outputs[site.weight])
        for site in own
    }


def joined(site: Site, activation: Tensor) -> Tensor:
    """Return activations [..., a] with a last column of ones where the bias is joined."""
    if site.bias is None:
        return activation
    ones = torch.ones_like(activation[..., :1])
    return torch.cat([activation, ones], dim=-1)
