"""Is this the graph of this model? Names, dtypes and shapes of a graph against a stage log's."""

from collections.abc import Mapping
from typing import NoReturn

from auditor.errors import InputError, ShapeError
from auditor.model.onnx_description import GraphDescription, TensorType
from auditor.model.optimised_graph import EXPORT_CALL, copied_weight, why_missing
from auditor.stagelog.log import GraphValue, ParameterInfo, StageLog
from auditor.stagelog.rules_parameters import present_after

_REMEDY = "Export the graph again from the model that was trained (auditor.record.export_graph)."
_UNREAD = (
    "If the model's forward does not use it, remove it from the module before training (such as "
    "model.pooler = None); else export the graph again from the model that was trained "
    "(auditor.record.export_graph)."
)
_UNOPTIMISED = (
    f"The exporter's optimiser, on by default, changed the parameters: export with {EXPORT_CALL}, "
    "or auditor.record.export_graph."
)
_WEIGHTLESS = (
    f"Write the graph with auditor.record.export_graph: it calls {EXPORT_CALL} and makes every "
    "parameter an input without data."
)


def require_log(log: StageLog, graphs: Mapping[str, GraphDescription]) -> None:
    """Refuse a log whose graphs are not those of the model that its stages train.

    Args:
        log: A validated log.
        graphs: What its ONNX blobs hold, by the graph's name.

    Raises:
        InputError: If a name is not in both graph and log.
        ShapeError: If an input, output or parameter has another shape or dtype in the graph.
    """
    for index, stage in enumerate(log.stages):
        graph, present = graphs[stage.graph], present_after(log, index)
        require_state(graph, {n: i for n, i in log.parameters.items() if n in present})
        inputs = [value for value in graph.inputs if value.name not in present]
        where, declared = f'graphs["{stage.graph}"]', log.graphs[stage.graph]
        _require_declared(declared.inputs, inputs, where=f"{where}.inputs")
        _require_declared(declared.outputs, graph.outputs, where=f"{where}.outputs")


def require_state(graph: GraphDescription, names: Mapping[str, ParameterInfo]) -> None:
    """Refuse a graph in which a parameter is missing, has no effect, or has another form.

    Among them are graphs that went through the exporter's optimiser, which the message says.

    Args:
        graph: A checked graph.
        names: Parameters and buffers of the model, tied names included.

    Raises:
        InputError: If a parameter is no input, has data of its own, or no output depends on it.
        ShapeError: If it has another shape or dtype.
    """
    owner_of = {name: info.tied_to or name for name, info in names.items()}
    needed = {value.name for value in graph.outputs}
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            needed.update(node.inputs)
    present: set[str] = set()
    consumed: set[str] = set()
    for value in graph.inputs:
        if value.name not in names:
            continue
        _require_same(value, names[value.name])
        present.add(owner_of[value.name])
        if value.name in needed:
            consumed.add(owner_of[value.name])
    for name in graph.constants:
        if name in names:
            _mismatch(
                name, "a graph input without data", "an initialiser with data", remedy=_WEIGHTLESS
            )
    for name, info in names.items():
        if info.kind == "parameter" and owner_of[name] == name and name not in consumed:
            found = "one without effect" if name in present else "no input of this name"
            cause = why_missing(name, graph, names=names)
            if cause is not None:
                found = f"{found}, but {cause}"
            remedy = _UNREAD if cause is None else _UNOPTIMISED
            _mismatch(name, "a parameter that the graph's outputs depend on", found, remedy=remedy)
    copy = copied_weight(graph, names=names)
    if copy is not None:
        name, constant = copy
        _mismatch(
            name,
            "no constant that data are multiplied by and that has a parameter's shape",
            f"{constant!r}",
            remedy=f"{_UNOPTIMISED} If it is a fixed matrix, register it as a buffer.",
        )


def _require_same(value: TensorType, info: ParameterInfo) -> None:
    if value.shape != info.shape or value.dtype != info.dtype:
        raise ShapeError(
            f"parameters[{value.name}]",
            expected=f"{info.dtype} of shape {info.shape} as in the stage log",
            found=f"{value.dtype} of shape {value.shape} in the graph",
            remedy=_REMEDY,
        )


def _require_declared(
    declared: tuple[GraphValue, ...],
    actual: list[TensorType] | tuple[TensorType, ...],
    *,
    where: str,
) -> None:
    told, held = (
        [(value.name, value.dtype, tuple(map(_axis, value.shape))) for value in values]
        for values in (declared, actual)
    )
    if told != held:
        raise InputError(
            where,
            expected=f"what the ONNX graph has: {_listed(held)}",
            found=_listed(told),
            remedy=_REMEDY,
        )


def _axis(size: int | str) -> int | str:
    return size if isinstance(size, int) else "N"  # what a symbolic axis is called is no matter


def _listed(values: list[tuple[str, str, tuple[int | str, ...]]]) -> str:
    return (
        ", ".join(f"{name} {dtype} [{', '.join(map(str, shape))}]" for name, dtype, shape in values)
        or "none"
    )


def _mismatch(name: str, expected: str, found: str, *, remedy: str = _REMEDY) -> NoReturn:
    raise InputError(f"parameters[{name}]", expected=expected, found=found, remedy=remedy)
