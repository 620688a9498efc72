"""EK-FAC: Kronecker-factored eigenbases with eigenvalues from per-example gradients."""

from collections.abc import Mapping

import torch
from torch import Tensor

from auditor.curvature.eigen import EigenCurvature, KroneckerBasis
from auditor.curvature.factors import Factors, joined, kronecker_factors
from auditor.curvature.sample import CurvatureSample
from auditor.curvature.signals import Signals, SignalSource
from auditor.model.objective import GraphObjective
from auditor.model.sites import Site

__all__ = ["EigenCurvature", "ekfac"]


def ekfac(
    objective: GraphObjective,
    theta: Tensor,
    buffers: Mapping[str, Tensor],
    *,
    sample: CurvatureSample,
    trainable: frozenset[str],
) -> EigenCurvature:
    r"""Return the EK-FAC approximation of the Gauss-Newton matrix of a sample's loss.

    For a weight W used as s = W a + b (products, convolutions by their patches, tables by their
    indices, the projections of attention), with eigenvectors Q_A, Q_G of the second moments of a
    and of ds:

    .. math:: H_W = (Q_G \otimes Q_A) \operatorname{diag}(\lambda) (Q_G \otimes Q_A)^T,
        \qquad \lambda_{jk} = \sum_i c_i \sum_d \big[ Q_G^T \nabla_W^{(i, d)} Q_A \big]_{jk}^2

    where nabla^{(i, d)} is the pull-back of direction d of example i's output curvature. The
    bias is a column of W. Parameters used otherwise (norms, positions, tied weights) have their
    exact diagonal; frozen ones have zeros.

    Deterministic given the sample. Cost: two passes of one forward and R backward passes an
    example. Memory: the bases, and per-example gradients of a few examples.

    Args:
        objective: The stage's.
        theta: Where, [P].
        buffers: By name.
        sample: Examples, factors and directions.
        trainable: Parameters that have curvature.

    Raises:
        UnsupportedError: If examples interact through batch normalisation.

    References:
        George et al. (2018), arXiv 1806.03884; Martens and Grosse (2015), arXiv 1503.05671.
        Departures: (1) output curvature is summed over a basis of outputs where that is cheap
        instead of sampled labels, otherwise over random signs; (2) tables and shared weights use
        gradients summed over positions in lambda. Against curvlinops in
        reference/test_curvature_vs_curvlinops.py.
    """
    source = SignalSource(objective, theta, buffers, sample=sample, trainable=trainable)
    sites = source.sites
    factors = kronecker_factors(sites, source.chunks())
    shapes = dict(zip(objective.layout.names, objective.layout.shapes, strict=True))
    bases = [
        _basis(site, factors[site.weight], shape=shapes[site.weight], like=theta) for site in sites
    ]
    rotated = {name: theta.new_zeros(shape) for name, shape in shapes.items()}
    plain = dict(rotated)
    for chunk in source.chunks():
        for site, basis in zip(sites, bases, strict=True):
            _add(rotated, basis.entries(_squares(site, chunk, shape=basis.shape, basis=basis)))
            _add(plain, basis.entries(_squares(site, chunk, shape=basis.shape, basis=None)))
        squares = {n: g.square().sum(dim=(0, 1)) for n, g in chunk.diagonal.items()}
        _add(rotated, squares)
        _add(plain, squares)
    return EigenCurvature(
        layout=objective.layout,
        bases=tuple(bases),
        eigenvalues=objective.layout.flatten(rotated),
        diagonal=objective.layout.flatten(plain),
    )


def _add(total: dict[str, Tensor], more: Mapping[str, Tensor]) -> None:
    """Add to entries of the sums that the caller is making."""
    total.update({name: total[name] + entries for name, entries in more.items()})


def _basis(site: Site, factors: Factors, *, shape: tuple[int, ...], like: Tensor) -> KroneckerBasis:
    """Return the eigenvectors of a site's factors."""
    inputs = None if factors.inputs is None else torch.linalg.eigh(factors.inputs)[1].to(like)
    return KroneckerBasis(
        weight=site.weight,
        bias=site.bias,
        shape=shape,
        transposed=site.transposed,
        outputs=torch.linalg.eigh(factors.outputs)[1].to(like),
        inputs=inputs,
    )


def _squares(
    site: Site, chunk: Signals, *, shape: tuple[int, ...], basis: KroneckerBasis | None
) -> Tensor:
    """Return the squares of a chunk's gradients, summed, [g, a]; in the eigenbasis if given."""
    gradient, activation = chunk.gradients[site.weight], chunk.activations[site.weight]
    if basis is not None:
        gradient = gradient @ basis.outputs  # [n, R, T, g]
    if site.kind == "embedding":
        summed = gradient.new_zeros(*gradient.shape[:2], shape[0], gradient.shape[-1])
        index = activation[:, None, :, None].expand(gradient.shape)  # [n, R, T, g]
        return summed.scatter_add(2, index, gradient).square().sum(dim=(0, 1)).mT
    activation = joined(site, activation)
    if basis is not None and basis.inputs is not None:
        activation = activation @ basis.inputs  # [n, T, a]
    return torch.einsum("nrtg,nta->nrga", gradient, activation).square().sum(dim=(0, 1))
