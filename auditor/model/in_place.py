"""Let arithmetic of a traced function write where an operand lies that nobody reads again."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

aten = torch.ops.aten

WRITING: Mapping[Any, Any] = MappingProxyType({
    aten.add.Tensor: aten.add.out,
    aten.sub.Tensor: aten.sub.out,
    aten.mul.Tensor: aten.mul.out,
    aten.div.Tensor: aten.div.out,
    aten.lerp.Scalar: aten.lerp.Scalar_out,
    aten.lerp.Tensor: aten.lerp.Tensor_out,
    aten.addcmul.default: aten.addcmul.out,
    aten.clamp_min.default: aten.clamp_min.out,
    aten.sqrt.default: aten.sqrt.out,
})
"""Arithmetic entry by entry, and the same with a place for its result, which may be an operand."""

FRESH = frozenset({*WRITING, aten.cat.default})
"""What gives memory of its own, which nobody outside the function has seen."""


def write_in_place(module: GraphModule) -> None:
    """Change a straight line so that its arithmetic needs less memory; its values stay the same.

    An operand is written to if it was made in the function by arithmetic, has the result's shape,
    strides, dtype and device, and neither it nor a view of it is read afterwards.
    """
    owner: dict[Node, Node] = {}
    last_read: dict[Node, int] = {}

    def memory_of(node: Node) -> Node:
        while owner.get(node, node) is not node:
            node = owner[node]
        return node

    nodes = list(module.graph.nodes)
    for place, node in enumerate(nodes):
        if shares_memory(node):
            owner[node] = cast("Node", node.args[0])
        for source in node.all_input_nodes:
            last_read[memory_of(source)] = place
    for place, node in enumerate(nodes):
        if node.target not in WRITING or memory_of(node) is not node:
            continue
        for operand in dict.fromkeys(a for a in node.args if isinstance(a, Node)):
            memory = memory_of(operand)
            others = [a for a in node.args if isinstance(a, Node) and a is not operand]
            if (
                operand.target in FRESH
                and last_read[memory] == place
                and _alike(operand, node)
                and all(memory_of(other) is not memory for other in others)
            ):
                node.target = WRITING[node.target]
                node.kwargs = {**node.kwargs, "out": operand}
                owner[node] = operand
                last_read[memory] = last_read.get(node, place)
                break
    module.recompile()


def shares_memory(node: Node) -> bool:
    """Say whether a call's result may lie in the memory of its first argument."""
    if node.op != "call_function" or not node.args or not isinstance(node.args[0], Node):
        return False
    if not isinstance(node.target, torch._ops.OpOverload):
        return True  # an item of several results
    if node.target is aten._unsafe_view.default:  # a view, whatever its schema says
        return True
    return any(argument.alias_info is not None for argument in node.target._schema.arguments)


def _alike(one: Node, other: Node) -> bool:
    a, b = one.meta["val"], other.meta["val"]
    return (
        isinstance(a, Tensor)
        and isinstance(b, Tensor)
        and (a.shape, a.stride(), a.dtype, a.device) == (b.shape, b.stride(), b.dtype, b.device)
    )
