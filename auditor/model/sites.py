"""Where a graph uses its weights linearly: products, convolutions and tables."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeAlias, final

from auditor.model.onnx_description import Node

SiteKind: TypeAlias = Literal["linear", "convolution", "embedding"]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """One use of a weight W in s = W a + b, at every position of every example.

    Attributes:
        step: Which of the plan's steps computes s, or W a where the bias is added later.
        kind: How a is read from the step's argument: as it is, as the patches of a convolution,
            or as the indices of a table.
        weight: Name of W.
        bias: Name of b; None without one, and where b is used elsewhere too.
        transposed: Whether W is stored as [inputs, outputs] instead of [outputs, inputs, ...].
        activation: Position of a among the step's arguments.
    """

    step: int
    kind: SiteKind
    weight: str
    bias: str | None
    transposed: bool
    activation: int


class CalledNode(NamedTuple):
    """A node that is part of a plan, with the values that its kernel takes and gives."""

    node: Node
    arguments: tuple[str, ...]
    results: tuple[str, ...]


class _Use(NamedTuple):
    parameter: str
    transposed: bool


def find_sites(
    calls: Sequence[CalledNode],
    *,
    parameters: Mapping[str, str],
    outputs: Collection[str],
    rank: Callable[[str], int],
) -> tuple[Site, ...]:
    """Return the sites of weights that the graph uses exactly once.

    A weight with several uses (a tied head), or with a use of another kind, has no site.

    Args:
        calls: What the plan computes, in order.
        parameters: Graph value -> name of the parameter it holds.
        outputs: Graph values that are read from outside.
        rank: Number of axes of a graph value.
    """
    uses = {value: _Use(name, transposed=False) for value, name in parameters.items()}
    counts: Counter[str] = Counter()
    readers: dict[str, list[CalledNode]] = {}
    candidates: list[tuple[Site, CalledNode]] = []
    for step, call in enumerate(calls):
        use = _renamed(call, uses)
        if use is not None:
            uses[call.results[0]] = use
            continue
        for value in call.arguments:
            readers.setdefault(value, []).append(call)
            if value in uses:
                counts[uses[value].parameter] += 1
        site = _site(call, uses, step=step, rank=rank)
        if site is not None:
            candidates.append((site, call))
    sites = []
    for site, call in candidates:
        seen = call.results[0] in outputs
        bias = site.bias or (None if seen else _added_bias(call, readers, uses=uses, rank=rank))
        own = bias if bias is not None and counts[bias] == 1 else None
        if counts[site.weight] == 1:
            sites.append(replace(site, bias=own))
    return tuple(sites)


def _renamed(call: CalledNode, uses: Mapping[str, _Use]) -> _Use | None:
    """Return what a value is that is a parameter by another name, or transposed."""
    use = uses.get(call.arguments[0]) if call.arguments else None
    if use is None:
        return None
    if call.node.operator == "Identity":
        return use
    if call.node.operator == "Transpose" and call.node.attributes.get("perm") == (1, 0):
        return _Use(use.parameter, not use.transposed)
    return None


def _site(
    call: CalledNode, uses: Mapping[str, _Use], *, step: int, rank: Callable[[str], int]
) -> Site | None:
    """Return the site that a call may be, without a bias that is added later."""
    node, values = call.node, call.arguments
    attributes = node.attributes
    weight = uses.get(values[1]) if len(values) > 1 else None
    match node.operator:
        case "Gemm" if weight is not None and _plain_gemm(call):
            stored = weight.transposed != (attributes.get("transB", 0) == 0)
            bias = _vector(values[2], uses, rank=rank) if len(values) > 2 else None
            return Site(
                step=step, kind="linear", weight=weight.parameter, bias=bias,
                transposed=stored, activation=0,
            )  # fmt: skip
        case "MatMul" if weight is not None and rank(values[1]) == 2:
            return Site(
                step=step, kind="linear", weight=weight.parameter, bias=None,
                transposed=not weight.transposed, activation=0,
            )  # fmt: skip
        case "Conv" if weight is not None and attributes.get("group", 1) == 1:
            bias = _vector(values[2], uses, rank=rank) if len(values) > 2 else None
            return Site(
                step=step, kind="convolution", weight=weight.parameter, bias=bias,
                transposed=False, activation=0,
            )  # fmt: skip
        case "Gather" if values[0] in uses and rank(values[0]) == 2:
            table = uses[values[0]]
            if table.transposed or attributes.get("axis", 0) != 0 or len(values) < 2:
                return None
            return Site(
                step=step, kind="embedding", weight=table.parameter, bias=None,
                transposed=True, activation=1,
            )  # fmt: skip
        case _:
            return None


def _plain_gemm(call: CalledNode) -> bool:
    attributes = call.node.attributes
    factors = (attributes.get("alpha", 1.0), attributes.get("beta", 1.0))
    return factors == (1.0, 1.0) and attributes.get("transA", 0) == 0


def _vector(value: str, uses: Mapping[str, _Use], *, rank: Callable[[str], int]) -> str | None:
    return uses[value].parameter if value in uses and rank(value) == 1 else None


def _added_bias(
    call: CalledNode,
    readers: Mapping[str, Sequence[CalledNode]],
    *,
    uses: Mapping[str, _Use],
    rank: Callable[[str], int],
) -> str | None:
    """Return the parameter that is added to a product, where nothing else reads the product."""
    (result,) = call.results
    readings = readers.get(result, [])
    if call.node.operator != "MatMul" or len(readings) != 1 or readings[0].node.operator != "Add":
        return None
    others = [value for value in readings[0].arguments if value != result]
    return _vector(others[0], uses, rank=rank) if len(others) == 1 else None
