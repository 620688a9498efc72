"""Export a torch module as an ONNX graph without weights, its parameters by name."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence

import torch
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto
from torch import Tensor, nn

from auditor.errors import UnsupportedError
from auditor.model.onnx_graph import check_graph

OPSET = 20
"""Operator set of exported graphs."""


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
        module: A module whose forward takes tensors by position.
        example_inputs: One minibatch, each [B, ...].
        input_names: Name of each input in the graph.

    Raises:
        UnsupportedError: If the exporter cannot express the module, or the graph uses an operator
            that an audit does not treat.
    """
    inputs = tuple(_at_least_two(tensor) for tensor in example_inputs)
    batch = torch.export.Dim("batch")
    with _evaluating(module), _quiet_exporter():
        try:
            program = torch.onnx.export(
                module,
                inputs,
                dynamo=True,
                optimize=False,  # see above: the names of the parameters depend on it
                opset_version=OPSET,
                input_names=list(input_names),
                dynamic_shapes=tuple({0: batch} for _ in inputs),
                verbose=False,
            )
        except RuntimeError as error:
            raise UnsupportedError(
                f"module {type(module).__name__}",
                expected="a module that torch.onnx.export accepts with a dynamic batch axis",
                found=str(error),
                remedy="Run torch.onnx.export(dynamo=True, optimize=False) to see the reason.",
            ) from error
    if program is None:
        raise UnsupportedError(
            f"module {type(module).__name__}",
            expected="an exported program",
            found="none",
            remedy="Use a torch release whose exporter is built on torch.export.",
        )
    state = set(module.state_dict())
    values = program.model.graph
    for name in [name for name in values.initializers if name in state]:
        parameter = values.initializers.pop(name)
        parameter.const_value = None
        values.inputs.append(parameter)
    blob = _without_metadata(program.model_proto)
    check_graph(blob)
    return blob


def _at_least_two(tensor: Tensor) -> Tensor:
    """Return the example with two rows or more: of one row the exporter makes a constant."""
    return torch.cat([tensor, tensor]) if tensor.shape[0] == 1 else tensor


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
