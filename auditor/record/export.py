"""Export a torch module as an ONNX graph without weights, its parameters by name."""

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator, Sequence

import torch
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto
from torch import Tensor, nn
from torch.export import ExportedProgram

from auditor.errors import InputError, UnsupportedError
from auditor.model.graph_state import require_state
from auditor.model.onnx_graph import check_graph
from auditor.record.snapshot import describe_state

OPSET = 20
"""Operator set of exported graphs."""

ANY_LENGTH = (2, 10**6)
"""Batches of these lengths count as any: where examples do not meet, two tell how one is done."""


def export_graph(
    module: nn.Module, example_inputs: tuple[Tensor, ...], *, input_names: Sequence[str]
) -> bytes:
    """Return the module's forward computation as an ONNX file that carries no weights.

    Every initialiser whose name is in the module's state dict becomes a graph input without data,
    after the real inputs; of tied names the exporter keeps one. Other constants stay. The first
    axis of every input is the batch, of any length. The module is exported in evaluation mode,
    whatever its mode, and left as it was: whether batch normalisation uses the batch's statistics
    is not a property of the graph (the exporter drops it) but of the stage.

    Exported without the exporter's optimiser, which folds, merges and unties parameters. Stack
    traces and other metadata, which tell paths of the recording machine, are removed.

    Args:
        module: A module whose forward takes tensors by position, reads all of its parameters,
            and computes the same for batches of every length.
        example_inputs: One minibatch, each [B, ...].
        input_names: Name of each input in the graph.

    Raises:
        InputError: If inputs and names do not match, or the forward leaves a parameter unread.
        UnsupportedError: If the exporter cannot express the module for batches of any length, or
            the graph uses an operator that an audit does not treat.
    """
    where = f"module {type(module).__name__}"
    _require_inputs(example_inputs, input_names, module=module)
    batch = torch.export.Dim("batch")
    with _evaluating(module), _quiet_exporter():
        try:
            program = torch.onnx.export(
                module,
                tuple(_example(tensor) for tensor in example_inputs),
                dynamo=True,
                optimize=False,  # see above: the names of the parameters depend on it
                opset_version=OPSET,
                input_names=list(input_names),
                dynamic_shapes=tuple({0: batch} for _ in example_inputs),
                verbose=False,
            )
        except RuntimeError as error:
            raise UnsupportedError(
                where,
                expected="a module that torch.onnx.export accepts with a dynamic batch axis",
                found=_cause(error),
                remedy="Run torch.onnx.export(dynamo=True, optimize=False) to see where.",
            ) from error
    if program is None or program.exported_program is None:
        raise UnsupportedError(
            where,
            expected="an exported program",
            found="none",
            remedy="Use a torch release whose exporter is built on torch.export.",
        )
    state = set(module.state_dict())
    values = program.model.graph
    lengths = [value.shape[0] if value.shape else 0 for value in values.inputs]
    _require_any_length(lengths, program.exported_program, where=where)
    for name in [name for name in values.initializers if name in state]:
        parameter = values.initializers.pop(name)
        parameter.const_value = None
        values.inputs.append(parameter)
    blob = _without_metadata(program.model_proto)
    require_state(check_graph(blob), describe_state(module))
    return blob


def _require_inputs(inputs: tuple[Tensor, ...], names: Sequence[str], *, module: nn.Module) -> None:
    """Refuse examples that are no minibatch, and names that cannot tell the inputs apart."""
    taken = set(module.state_dict())
    lengths = {tuple(tensor.shape[:1]) for tensor in inputs}
    if len(lengths) != 1 or () in lengths:
        raise InputError(
            "example_inputs",
            expected="one or more tensors whose first axis is the same minibatch",
            found=", ".join(f"shape {tuple(tensor.shape)}" for tensor in inputs) or "none",
            remedy="Give a minibatch; a number that is the same for all examples is part of "
            "the module.",
        )
    if len(names) != len(inputs) or len(set(names)) != len(names) or taken.intersection(names):
        raise InputError(
            "input_names",
            expected=f"{len(inputs)} different names, none of them a parameter's",
            found=", ".join(names) or "none",
            remedy="Name every input of the forward, in its order.",
        )


def _example(tensor: Tensor) -> Tensor:
    """Return a copy with two rows or more.

    Of one row the exporter makes a constant, and of one tensor that is given twice one input.
    """
    return torch.cat([tensor, tensor]) if tensor.shape[0] == 1 else tensor.detach().clone()


def _require_any_length(lengths: Sequence[object], program: ExportedProgram, *, where: str) -> None:
    """Refuse a graph that holds for batches of some lengths only; the exporter says nothing."""
    found = next((f"batches of {size} only" for size in lengths if isinstance(size, int)), None)
    for symbol, bounds in program.range_constraints.items():
        data_dependent = str(symbol).startswith("u")
        if not data_dependent and (bounds.lower > ANY_LENGTH[0] or bounds.upper < ANY_LENGTH[1]):
            most = bounds.upper if bounds.upper < ANY_LENGTH[1] else "any number"
            found = f"batches of {bounds.lower} to {most}"
    if found is not None:
        raise UnsupportedError(
            where,
            expected="a forward that computes the same for batches of every length",
            found=found,
            remedy="Look for sizes written as numbers, int(x.shape[0]), loops over the batch, "
            "branches on its length and buffers with a batch axis; use x.shape[0] or -1 instead.",
        )


def _cause(error: BaseException) -> str:
    """Return the first line of what the exporter failed of, without colours."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else 'no message'}"


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        # One by one: a part may have been frozen in another mode than the whole.
        for part, training in modes:
            part.training = training


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep the exporter's remarks about itself and about absent packages from the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _without_metadata(model: ModelProto) -> bytes:
    graph = model.graph
    model.doc_string = ""
    graph.doc_string = ""
    del model.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    parts: tuple[NodeProto | ValueInfoProto | TensorProto, ...] = (
        *graph.node, *graph.input, *graph.output, *graph.initializer,
    )  # fmt: skip
    for part in parts:
        part.doc_string = ""
        del part.metadata_props[:]
    return model.SerializeToString(deterministic=True)
