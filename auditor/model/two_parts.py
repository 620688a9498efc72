"""Trace a function once and run it in two parts: before and after some arguments are known."""

from collections.abc import Callable
from typing import Any, TypeAlias, cast

from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from auditor.errors import InternalError
from auditor.model.outside import below_autograd, indices_are_data
from auditor.model.traced import straight_line_module, writes_in_place

Tensors: TypeAlias = tuple[Tensor, ...]
Early: TypeAlias = Callable[[Tensors], tuple[Tensors, Tensors]]
"""(early arguments) -> (early results, what the late part needs)."""
Late: TypeAlias = Callable[[Tensors, Tensors], Tensors]
"""(what it needs, late arguments) -> late results."""


def trace_in_two_parts(
    function: Callable[..., tuple[Tensors, Tensors]], *, early: Tensors, late: Tensors
) -> tuple[Early, Late]:
    """Return a function as two: what can be computed before the late arguments, and the rest.

    The parts have the same values as ``function`` at the examples' shapes and do its work once
    between them: a step's forward and backward pass now, its product with a cotangent later.

    Args:
        function: (*early, *late) -> (early results, late results), pure; its control flow depends
            on shapes only.
        early: Example arguments.
        late: Example arguments that come last.

    Raises:
        InternalError: If an early result depends on a late argument.
    """
    sizes: list[int] = []

    def flat(*arguments: Tensor) -> list[Tensor]:
        first, second = function(*arguments)
        sizes.append(len(first))
        return [*first, *second]

    module = straight_line_module(flat, (*early, *late))
    nodes = list(module.graph.nodes)
    inputs = [node for node in nodes if node.op == "placeholder"]
    results = cast("tuple[Node, ...]", tuple(nodes[-1].args[0]))
    known, wanted = results[: sizes[-1]], results[sizes[-1] :]
    waiting = _waiting(nodes, set(inputs[len(early) :]))
    if any(node in waiting for node in known):
        raise InternalError(
            "trace in two parts",
            expected="early results of early arguments only",
            found="one that depends on a late argument",
            remedy="Report this as a bug.",
        )
    body = [node for node in nodes if node.op not in {"placeholder", "output"}]
    now = [node for node in body if node not in waiting]
    then = [node for node in body if node in waiting]
    reads = {source for node in then for source in node.all_input_nodes} | set(wanted)
    constants = {node for node in body if node.op == "get_attr"}
    held = [n for n in nodes if n in reads and n not in waiting and n not in constants]
    first = _part(module, inputs[: len(early)], now, results=(*known, *held))
    second = _part(
        module, [*held, *inputs[len(early) :]], [*constants, *then], results=tuple(wanted)
    )

    def run_early(arguments: Tensors) -> tuple[Tensors, Tensors]:
        with below_autograd(), indices_are_data():
            found = first(*arguments)
        return tuple(found[: len(known)]), tuple(found[len(known) :])

    def run_late(needed: Tensors, arguments: Tensors) -> Tensors:
        with below_autograd(), indices_are_data():
            return tuple(second(*needed, *arguments))

    return run_early, run_late


def _waiting(nodes: list[Node], late: set[Node]) -> set[Node]:
    """Return the nodes that depend on late arguments, also through what is written in place."""
    waiting = set(late)
    size = -1
    while len(waiting) > size:
        size = len(waiting)
        for node in nodes:
            if waiting.intersection(node.all_input_nodes):
                waiting.add(node)
            if node in waiting and writes_in_place(node):
                waiting.add(cast("Node", node.args[0]))
    return waiting


def _part(
    module: GraphModule, inputs: list[Node], nodes: list[Node], *, results: tuple[Node, ...]
) -> Callable[..., list[Tensor]]:
    """Return a part of a graph as a function of the values of some nodes."""
    graph, copies = Graph(), dict[Node, Node]()
    for node in inputs:
        copies[node] = graph.placeholder(node.name)
    for node in nodes:
        copies[node] = graph.node_copy(node, lambda source: copies[source])
    graph.output([copies[node] for node in results])
    graph.eliminate_dead_code()
    part: Any = GraphModule(module, graph)
    return cast("Callable[..., list[Tensor]]", part.forward)
