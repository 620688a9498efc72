"""Turn a checked graph into a plan for fixed input shapes: partial evaluation.

Every value is either a constant, computed here and now on the CPU, or known by dtype and shape
only (a tensor on the meta device). Shape arithmetic and masks become constants; what is left is
the arithmetic on parameters and data. Sizes are known before memory is asked for.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import cast, final

import torch
from torch import Tensor

from auditor.errors import InputError, ResourceError
from auditor.model.limits import ImportLimits
from auditor.model.onnx_description import GraphDescription, Mode, Node
from auditor.model.onnx_ops.call import DTYPES, Call, Kernel, Operand, Value
from auditor.model.onnx_ops.table import OPERATORS
from auditor.model.outside import LargestValue
from auditor.model.plan import Plan, Step
from auditor.model.sites import CalledNode, find_sites

_COUNTER = "num_batches_tracked"
_KEYS = "\0keys"
"""The keys of masks among the values of a graph; no name has such a character."""


@final
class Specialiser:
    """One partial evaluation; used once.

    Args:
        description: The checked graph.
        parameters: Graph input -> name of the parameter.
        buffers: Graph input -> name of the buffer.
        mode: For batch normalisation.
        running: Running means of those that use running statistics all the same.
        limits: Bounds on constants and values.
    """

    def __init__(
        self,
        description: GraphDescription,
        *,
        parameters: Mapping[str, str],
        buffers: Mapping[str, str],
        mode: Mode,
        running: frozenset[str],
        limits: ImportLimits,
    ) -> None:
        self._description = description
        self._parameters = parameters
        self._buffers = buffers
        self._mode: Mode = mode
        self._running = running
        self._limits = limits
        self._values: dict[str, Operand] = {}
        self._calls: list[tuple[Kernel, CalledNode]] = []
        self._updated: dict[str, str] = {}
        self._folded_bytes = 0

    def plan(self, shapes: tuple[tuple[int, ...], ...], *, device: torch.device) -> Plan:
        """Return the plan for data inputs of these shapes, with constants on ``device``."""
        named = [
            value
            for value in self._description.inputs
            if value.name not in self._parameters and value.name not in self._buffers
        ]
        data = {value.name: shape for value, shape in zip(named, shapes, strict=True)}
        for value in self._description.inputs:
            shape = data.get(value.name) or tuple(int(axis) for axis in value.shape)
            unknown = torch.empty(shape, dtype=DTYPES[value.dtype], device="meta")
            self._values[value.name] = Operand(unknown, constant=False)
        for name, array in self._description.constants.items():
            self._values[name] = Operand(torch.from_numpy(array), constant=True)
        for node in self._description.nodes:
            self._evaluate(node)
        return self._assemble(data, device=device)

    def _evaluate(self, node: Node) -> None:
        """Compute the node's results, or their shapes, and note the call if it is left over."""
        operands = tuple(self._values[name] if name else None for name in node.inputs)
        frozen = any(self._buffers.get(name) in self._running for name in node.inputs)
        call = Call(node=node, operands=operands, mode="eval" if frozen else self._mode)
        with _our_errors(call):
            kernel = OPERATORS[node.operator](call)
            used = [call.operand(i) for i in kernel.uses]
            with LargestValue() as within:
                results = _results(kernel, [_meta(operand.value) for operand in used])
            fold = all(operand.constant for operand in used) and not kernel.keyed
            self._require_room(results, call, fold=fold, within=within.bytes)
            if fold:
                results = _results(kernel, [operand.value for operand in used])
        if any(node.outputs[kernel.results :]):
            raise call.unsupported(f"{kernel.results} results in use", len(node.outputs))
        # A kernel may have more results than the node names: running statistics. The separator
        # occurs in no name, since names are printable.
        unnamed = range(len(node.outputs), kernel.results)
        names = (*node.outputs[: kernel.results], *(f"{node.outputs[0]}\0{i}" for i in unnamed))
        for name, value in zip(names, results, strict=True):
            if name:
                self._values[name] = Operand(value, constant=fold)
        if not fold:
            arguments = tuple(node.inputs[i] for i in kernel.uses)
            arguments += (_KEYS,) if kernel.keyed else ()
            self._calls.append((kernel, CalledNode(node, arguments, names)))
        for operand, result in kernel.updates:
            self._note_update(call, node.inputs[operand], names[result])

    def _note_update(self, call: Call, operand: str, result: str) -> None:
        if operand not in self._buffers:
            raise call.unsupported("running statistics that are buffers of the model", operand)
        self._updated[self._buffers[operand]] = result

    def _require_room(
        self, results: tuple[Value, ...], call: Call, *, fold: bool, within: int
    ) -> None:
        """Refuse what exceeds the limits before it is computed: results, and values on the way."""
        flat = [t for value in results for t in ([value] if isinstance(value, Tensor) else value)]
        largest = max((within, *(value.nbytes for value in flat)))
        limits = self._limits
        if fold:
            self._folded_bytes += sum(value.nbytes for value in flat)
            if within > limits.folded_bytes:
                self._folded_bytes += within
        if largest > limits.value_bytes or self._folded_bytes > limits.folded_bytes:
            raise ResourceError(
                call.where,
                expected=f"values of at most {limits.value_bytes} bytes, "
                f"and constants of {limits.folded_bytes} in all",
                found=f"{largest} and {self._folded_bytes} bytes",
                remedy="Use smaller batches, or feed large constants as inputs.",
            )

    def _assemble(self, data: Mapping[str, tuple[int, ...]], *, device: torch.device) -> Plan:
        """Drop what no output needs, and number the values that are left."""
        outputs = tuple(value.name for value in self._description.outputs)
        needed = {*outputs, *self._updated.values()}
        calls = []
        for kernel, called in reversed(self._calls):
            if needed.intersection(called.results):
                needed.update(called.arguments)
                calls.append((kernel, called))
        calls.reverse()
        numbers: dict[str, int] = {}

        def slot(name: str) -> int:
            return numbers.setdefault(name, len(numbers))

        kept = {slot(name) for name in (*outputs, *self._updated.values())}
        needed.discard(_KEYS)
        kept |= {slot(n) for n in needed if self._values[n].constant}
        last: dict[int, int] = {}
        for index, (_, called) in enumerate(calls):
            last.update({slot(n): index for n in (*called.arguments, *called.results)})
        steps = tuple(
            Step(
                function=kernel.function,
                arguments=tuple(slot(name) for name in called.arguments),
                results=tuple(slot(name) for name in called.results),
                last_read=tuple(
                    s
                    for s in {slot(n) for n in (*called.arguments, *called.results)}
                    if last[s] == index and s not in kept
                ),
            )
            for index, (kernel, called) in enumerate(calls)
        )
        inputs = tuple((name, shape, slot(name)) for name, shape in data.items())
        # Pairs: two graph inputs may be one tied parameter.
        parameters = tuple((name, slot(value)) for value, name in self._parameters.items())
        buffers = tuple((name, slot(value)) for value, name in self._buffers.items())
        slots: list[Value | None] = [None] * len(numbers)
        for name in needed:
            if self._values[name].constant:
                slots[slot(name)] = _to(self._values[name].value, device)
        return Plan(
            slots=tuple(slots),
            inputs=inputs,
            parameters=parameters,
            buffers=buffers,
            updated={name: slot(value) for name, value in self._updated.items()},
            counters=tuple(
                sorted({
                    f"{name.rpartition('.')[0]}.{_COUNTER}".lstrip(".") for name in self._updated
                })
            ),
            keys=numbers.get(_KEYS),
            steps=steps,
            outputs=tuple(slot(name) for name in outputs),
            sites=find_sites(
                [called for _, called in calls],
                parameters=self._parameters,
                outputs=outputs,
                rank=self._rank,
            ),
        )

    def _rank(self, name: str) -> int:
        value = self._values[name].value
        return value.dim() if isinstance(value, Tensor) else 0


@contextlib.contextmanager
def _our_errors(call: Call) -> Iterator[None]:
    """Translate what torch and arithmetic say about operands that do not fit."""
    try:
        yield
    except (
        RuntimeError,
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        AssertionError,
        AttributeError,
    ) as error:
        raise InputError(
            call.where,
            expected="operands that fit the operator and each other",
            found=str(error),
            remedy="Check the shapes of the inputs and the graph.",
        ) from error


def _results(kernel: Kernel, operands: Sequence[Value]) -> tuple[Value, ...]:
    """Return the kernel's results as a tuple, also when there is one."""
    result = kernel.function(*operands)
    return tuple(result) if kernel.results > 1 else (cast("Value", result),)


def _meta(value: Value) -> Value:
    if isinstance(value, Tensor):
        return value.to("meta")
    return [item.to("meta") for item in value]


def _to(value: Value, device: torch.device) -> Value:
    if isinstance(value, Tensor):
        return value.to(device)
    return [item.to(device) for item in value]
