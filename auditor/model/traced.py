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
from torch.utils import _pytree as pytree

from auditor.errors import InternalError
from auditor.model.in_place import write_in_place
from auditor.model.outside import below_autograd, indices_are_data, operations_of

DEFAULT_CAPACITY = 16
"""How many traces a :class:`Traced` keeps, one per set of argument shapes."""

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


@final
class StraightLine(Generic[*Arguments, Result]):
    """A traced function: see :func:`trace`.

    Args:
        run: The operations, of a list of tensors that it empties.
        given: Structure of the arguments.
        result: Structure of the result.
    """

    def __init__(
        self,
        run: Callable[[list[Tensor]], list[Tensor]],
        *,
        given: pytree.TreeSpec,
        result: pytree.TreeSpec,
    ) -> None:
        self._run, self._given, self._result = run, given, result

    def __call__(self, *arguments: *Arguments) -> Result:
        """Return the function's value.

        Raises:
            InternalError: If the arguments have another structure than those it was traced with.
        """
        leaves, given = pytree.tree_flatten(arguments)
        if given is not self._given and given != self._given:
            raise InternalError(
                "traced call",
                expected=f"arguments of the structure {self._given}",
                found=given,
                remedy="Trace the function again for these arguments.",
            )
        return self.consume(leaves)

    def consume(self, leaves: list[Tensor]) -> Result:
        """Return the function's value and empty the list that held the tensors of its arguments.

        Every tensor is let go of as soon as it has been read for the last time. Where nobody else
        holds it, a step's old state makes room for the new one.
        """
        with below_autograd(), indices_are_data():
            flat_result = self._run(leaves)
        return cast("Result", pytree.tree_unflatten(flat_result, self._result))


def trace(
    function: Callable[[*Arguments], Result], example_arguments: tuple[*Arguments]
) -> StraightLine[*Arguments, Result]:
    """Return a function with the same values as ``function`` at the examples' shapes.

    Holds for arguments with the structure, shapes, dtypes and devices of the examples, when
    ``function`` is pure and its control flow depends on shapes only. What does not contribute to
    the result is removed, and memory is used again as soon as nobody reads it. The result records
    no gradients.

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

    module = straight_line_module(flat, leaves)
    write_in_place(module)
    _take_a_list(module)
    (result_structure,) = set(result_structures)
    return StraightLine(
        cast("Callable[[list[Tensor]], list[Tensor]]", module.forward),
        given=structure,
        result=result_structure,
    )


def _take_a_list(module: GraphModule) -> None:
    """Make a function of tensors one of a list, which it empties: a call holds its arguments."""
    graph = module.graph
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    with graph.inserting_before(inputs[0] if inputs else None):
        given = graph.placeholder("given")
        for node in reversed(inputs):
            node.replace_all_uses_with(graph.call_method("pop", (given,)))
            graph.erase_node(node)
    module.recompile()


def straight_line_module(
    flat: Callable[..., list[Tensor]], arguments: Sequence[Tensor]
) -> GraphModule:
    """Return a function of tensors as operations without what is idle.

    Idle are copies by name, what was computed before, and results that nobody reads.
    """
    with torch.no_grad():
        module = operations_of(flat, arguments)
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
