"""Trace a pure tensor function once per set of shapes into straight-line tensor operations.

``torch.func`` transforms cost about as much as the arithmetic of a small model. Traced, they are
paid once: the result calls nothing but tensor operations, in the same order on the same numbers.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, TypeVarTuple, cast, final

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from auditor.errors import InternalError
from auditor.model.outside import below_autograd, indices_are_data

DEFAULT_CAPACITY = 16
"""How many traces a :class:`Traced` keeps, one per set of argument shapes."""

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


def trace(
    function: Callable[[*Arguments], Result], example_arguments: tuple[*Arguments]
) -> Callable[[*Arguments], Result]:
    """Return a function with the same values as ``function`` at the examples' shapes.

    Holds for arguments with the structure, shapes, dtypes and devices of the examples, when
    ``function`` is pure and its control flow depends on shapes only. What does not contribute to
    the result is removed. The result records no gradients.

    Args:
        function: Maps pytrees of tensors to a pytree of tensors.
        example_arguments: Positional arguments, pytrees whose leaves are tensors.
    """
    leaves, structure = pytree.tree_flatten(example_arguments)
    result_structures: list[Any] = []

    def flat(*flat_arguments: Tensor) -> list[Tensor]:
        arguments = cast("tuple[*Arguments]", pytree.tree_unflatten(flat_arguments, structure))
        flat_result, result_structure = pytree.tree_flatten(function(*arguments))
        result_structures.append(result_structure)
        return flat_result

    run = cast("Callable[..., list[Tensor]]", straight_line_module(flat, leaves).forward)
    (result_structure,) = set(result_structures)

    def traced(*arguments: *Arguments) -> Result:
        flat_arguments, given = pytree.tree_flatten(arguments)
        if given is not structure and given != structure:
            raise InternalError(
                "traced call",
                expected=f"arguments of the structure {structure}",
                found=given,
                remedy="Trace the function again for these arguments.",
            )
        with below_autograd(), indices_are_data():
            flat_result = run(*flat_arguments)
        return cast("Result", pytree.tree_unflatten(flat_result, result_structure))

    return traced


def straight_line_module(
    flat: Callable[..., list[Tensor]], arguments: Sequence[Tensor]
) -> GraphModule:
    """Return a function of tensors as operations without what is idle.

    Idle are copies by name, what was computed before, and results that nobody reads.
    """
    with torch.no_grad():
        module: GraphModule = make_fx(flat)(*arguments)
    aten = torch.ops.aten
    for node in list(module.graph.nodes):
        source = node.args[0] if node.args else None
        if node.op != "call_function" or not isinstance(source, Node):
            continue
        if node.target in {aten.detach.default, aten.alias.default}:
            node.replace_all_uses_with(source)
        elif node.target is aten.t.default and source.target is aten.t.default:
            node.replace_all_uses_with(cast("Node", source.args[0]))
        elif node.target is aten.sub.Tensor and node.args == (source, source) and not node.kwargs:
            # x minus x held constant: only its derivative was wanted.
            like = node.meta["val"]
            options = {"dtype": like.dtype, "device": like.device}
            with module.graph.inserting_before(node):
                shape = list(like.shape)
                zero = module.graph.call_function(aten.zeros.default, (shape,), options)
            node.replace_all_uses_with(zero)
    _share_equal_calls(module)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def _share_equal_calls(module: GraphModule) -> None:
    """Compute once what is computed twice: a forward pass at theta and at theta held constant.

    Values that are written in place, what they are views of and who reads them are left alone.
    """
    alone: set[Node] = set()
    for node in module.graph.nodes:
        if writes_in_place(node):
            written = cast("Node", node.args[0])
            alone |= {node, written}
            while _is_view(written):
                written = cast("Node", written.args[0])
                alone.add(written)
    alone |= {reader for node in alone for reader in node.users}
    seen: dict[object, Node] = {}
    for node in list(module.graph.nodes):
        if node.op == "call_function" and node.all_input_nodes and node not in alone:
            key = (node.target, node.args, tuple(sorted(node.kwargs.items())))
            first = seen.setdefault(key, node)
            if first is not node:
                node.replace_all_uses_with(first)


def writes_in_place(node: Node) -> bool:
    """Say whether a call writes to its first argument."""
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _is_view(node: Node) -> bool:
    if not isinstance(node.target, torch._ops.OpOverload) or not node.all_input_nodes:
        return False
    return any(argument.alias_info is not None for argument in node.target._schema.arguments)


@final
class Traced(Generic[*Arguments, Result]):
    """A pure function that is traced at its first call with new shapes, dtypes or devices.

    Args:
        function: As in :func:`trace`.
        capacity: How many traces are kept; the one used longest ago is dropped first.
    """

    def __init__(
        self, function: Callable[[*Arguments], Result], *, capacity: int = DEFAULT_CAPACITY
    ) -> None:
        self._function = function
        self._capacity = capacity
        self._traces: OrderedDict[object, Callable[[*Arguments], Result]] = OrderedDict()

    def __call__(self, *arguments: *Arguments) -> Result:
        """Return ``function(*arguments)``."""
        leaves, structure = pytree.tree_flatten(arguments)
        shapes = tuple((leaf.shape, leaf.dtype, leaf.device) for leaf in leaves)
        key = (shapes, structure)
        traced = self._traces.get(key)
        if traced is None:
            traced = trace(self._function, arguments)
            while len(self._traces) >= self._capacity:
                self._traces.popitem(last=False)
            self._traces[key] = traced
        else:
            self._traces.move_to_end(key)
        return traced(*arguments)
