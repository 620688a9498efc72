"""What flows through each weight for each example: activations and curvature-weighted gradients."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeAlias, final

import torch
from torch import Tensor

from auditor.curvature.sample import CurvatureSample
from auditor.errors import UnsupportedError
from auditor.model.objective import GraphObjective
from auditor.model.output_curvature import curvature_root
from auditor.model.sites import Site

Named: TypeAlias = dict[str, Tensor]

CHUNK_NUMBERS = 2**24
"""About how many numbers of per-example gradients are held at once."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Signals:
    """Some examples, n, in R directions of output curvature; T are a site's positions.

    Attributes:
        activations: By weight, [n, T, a], or indices [n, T] of a table.
        gradients: By weight, of the site's result, [n, R, T, g].
        diagonal: Per-example gradients of the parameters without site, [n, R, *shape].
    """

    activations: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]
    diagonal: Mapping[str, Tensor]


@final
class SignalSource:
    r"""Signals of a sample: gradients :math:`\sqrt{c_i} J_i^T S_i d` for every direction d.

    Their mean squares are the Gauss-Newton matrix: :math:`\sum_i c_i J_i^T S_i S_i^T J_i`.

    Args:
        objective: The stage's; its examples must not interact.
        theta: [P].
        buffers: By name.
        sample: The examples, with the factor c of each.
        trainable: Parameters that have curvature.

    Raises:
        UnsupportedError: If examples interact through batch normalisation.
    """

    def __init__(
        self,
        objective: GraphObjective,
        theta: Tensor,
        buffers: Mapping[str, Tensor],
        *,
        sample: CurvatureSample,
        trainable: frozenset[str],
    ) -> None:
        if objective.mode == "train":
            raise UnsupportedError(
                "curvature",
                expected="a graph whose examples do not interact",
                found="batch normalisation by the statistics of the batch",
                remedy="Use curvature ggn, exact or none for this stage.",
            )
        self._objective, self._buffers = objective, buffers
        self._named = objective.layout.unflatten(theta)
        self._sample = sample
        self._plan = objective.plan([tensor[:1] for tensor in sample.inputs])
        self.sites = tuple(
            site if site.bias in trainable else replace(site, bias=None)
            for site in self._plan.sites
            if site.weight in trainable
        )
        """Sites of trainable weights, a bias only where it is trainable too."""
        owned = {name for site in self.sites for name in (site.weight, site.bias)}
        self.diagonal = tuple(n for n in objective.layout.names if n in trainable - owned)
        """Trainable parameters without site."""
        self._offsets = self._zero_offsets()
        largest = max((prod(self._named[n].shape) for n in trainable), default=1)
        self._chunk = max(1, min(64, CHUNK_NUMBERS // (sample.directions.shape[1] * largest)))

    def chunks(self) -> Iterator[Signals]:
        """Yield the signals of all examples, some at a time."""
        sample = self._sample
        for first in range(0, len(sample.factors), self._chunk):
            part = slice(first, first + self._chunk)
            activations, gradients, diagonal = torch.func.vmap(self._of_example)(
                tuple(tensor[part] for tensor in sample.inputs),
                (sample.target[part], sample.factors[part], sample.directions[part]),
            )
            yield Signals(activations=activations, gradients=gradients, diagonal=diagonal)

    def _of_example(
        self, inputs: tuple[Tensor, ...], loss: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Named, Named, Named]:
        """Return the three parts of an example's signals, without the axis n."""
        target, factor, directions = loss
        single = tuple(tensor.unsqueeze(0) for tensor in inputs)
        graph_inputs, keys = self._objective.split(single)

        def output(diagonal: Named, offsets: dict[int, Tensor]) -> tuple[Tensor, Named]:
            named = {**self._named, **diagonal}
            outputs, seen = self._plan.observed(
                named, self._buffers, *graph_inputs, offsets=offsets, keys=keys
            )
            activations = {
                site.weight: self._activation(site, seen[site.step].arguments[site.activation])
                for site in self.sites
            }
            return outputs.values[self._objective.bound_output], activations

        diagonal = {name: self._named[name] for name in self.diagonal}
        value, pullback, activations = _pullback(output, (diagonal, self._offsets))

        def gradients(direction: Tensor) -> tuple[Named, dict[int, Tensor]]:
            root = curvature_root(
                self._objective.loss_kind, value, target.unsqueeze(0),
                direction=direction.unsqueeze(0),
            )  # fmt: skip
            return pullback(factor.sqrt() * root)

        of_diagonal, of_sites = torch.func.vmap(gradients)(directions)
        of_weights = {
            site.weight: _positions(site, of_sites[site.step], lead=1) for site in self.sites
        }
        return activations, of_weights, of_diagonal

    def _activation(self, site: Site, argument: Tensor) -> Tensor:
        """Return what the weight is applied to at each position, [T, a], or indices [T]."""
        match site.kind:
            case "linear":
                return argument.reshape(-1, argument.shape[-1])
            case "embedding":
                return argument.reshape(-1)
            case "convolution":
                shape = self._named[site.weight].shape
                size = prod(shape[1:])
                # Convolved with every unit kernel: the patches, whatever pads and strides are.
                units = torch.eye(size, dtype=argument.dtype, device=argument.device)
                function = self._plan.steps[site.step].function
                return _positions(site, function(argument, units.reshape(size, *shape[1:])), lead=0)

    def _zero_offsets(self) -> dict[int, Tensor]:
        """Return a zero in the shape of every site's result for one example."""
        zero = next(iter(self._named.values())).new_zeros(())
        inputs, keys = self._objective.split([tensor[:1] for tensor in self._sample.inputs])
        offsets = {site.step: zero for site in self.sites}
        _, seen = self._plan.observed(
            self._named, self._buffers, *inputs, offsets=offsets, keys=keys
        )
        return {step: torch.zeros_like(observed.result) for step, observed in seen.items()}


def _pullback(
    function: Callable[..., tuple[Tensor, Named]], arguments: tuple[Any, ...]
) -> tuple[Tensor, Callable[[Tensor], tuple[Named, dict[int, Tensor]]], Named]:
    """Return ``torch.func.vjp`` with the function's second result, whose type torch leaves open."""
    found: Any = torch.func.vjp(function, *arguments, has_aux=True)
    value, pullback, second = found
    return value, pullback, second


def _positions(site: Site, values: Tensor, *, lead: int) -> Tensor:
    """Return a result [..., *positions, g] as [..., T, g]; channels come first in convolutions."""
    if site.kind == "convolution":
        values = values.movedim(lead + 1, -1)
    return values.reshape(*values.shape[:lead], -1, values.shape[-1])
