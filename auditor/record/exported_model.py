"""A model on disk as an audit needs it: graph, state by name, weights, reference outputs.

A folder with ``model.json``, ``graph.onnx`` (no weights), ``model.safetensors`` (the artifact that
``stageaudit audit --model`` binds) and ``reference.safetensors`` (what torch itself computed).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from auditor.edge.folder import read_file, write_durably
from auditor.errors import InputError, StageLogError
from auditor.model.onnx_model import OnnxModel
from auditor.model.tensors import read_tensors, write_tensors
from auditor.record.export import export_graph
from auditor.record.snapshot import copy_state, describe_state
from auditor.stagelog.digest import Digest, canonical_bytes, sha256
from auditor.stagelog.log import ParameterInfo
from auditor.stagelog.record import DigestField, Name, Record
from auditor.stagelog.strict_json import parse_record

MODEL_SCHEMA: Final = "stageaudit.model.v1"
MODEL_FILE = "model.json"
GRAPH_FILE = "graph.onnx"
WEIGHTS_FILE = "model.safetensors"
REFERENCE_FILE = "reference.safetensors"
REMEDY = "Pass a folder that `stageaudit export` wrote."

TOLERANCE = 1e-4
"""How far outputs may be from torch's own, relative to their largest."""

ModelTask = Literal["classification", "language", "other"]


class ExportedModel(Record):
    """What ``model.json`` says.

    Attributes:
        architecture: Name of the model's class.
        task: What its first output is: a row of logits per example, or per token.
        inputs: Names of the graph's inputs, in order.
        parameters: Every name of the state, tied ones too.
        order: Parameters in the module's order, ties once, as optimizers number them.
        prefix: What names of the bare model lack, such as ``bert.``.
        renamed: Name in the state of each tensor that checkpoints store under another name.
        graph: Digest of ``graph.onnx``.
        deviation: How far the graph's outputs were from torch's, relative to their largest.
    """

    schema_: Annotated[Literal["stageaudit.model.v1"], Field(alias="schema")] = MODEL_SCHEMA
    architecture: str
    task: ModelTask = "other"
    inputs: tuple[Name, ...]
    parameters: dict[Name, ParameterInfo]
    order: tuple[Name, ...]
    prefix: str = ""
    renamed: dict[Name, Name] = Field(default_factory=dict)
    graph: DigestField
    deviation: float


def export_model(
    folder: Path,
    module: nn.Module,
    example_inputs: tuple[Tensor, ...],
    *,
    input_names: Sequence[str],
    task: ModelTask = "other",
    prefix: str = "",
    renamed: Mapping[str, str] | None = None,
    architecture: str | None = None,
) -> ExportedModel:
    """Return what is written to ``folder`` after the graph was compared with the module.

    Args:
        folder: Receives the four files.
        module: Its forward takes tensors by position and returns one tensor.
        example_inputs: One minibatch, each [B, ...]; the reference inputs.
        input_names: Name of each input.
        task: What the output is.
        prefix: What names of the bare model lack.
        renamed: Name in the module of each tensor that checkpoints store under another name.
        architecture: Name of the module's class; its own by default.

    Raises:
        UnsupportedError: If the module cannot be exported, or an audit does not treat its graph.
        StageLogError: If the graph computes other outputs than the module.
    """
    graph = export_graph(module, example_inputs, input_names=input_names)
    infos = describe_state(module)
    state = copy_state(module)
    expected = _eager_output(module, example_inputs)
    deviation = _deviation(graph, infos, state=state, inputs=example_inputs, expected=expected)
    model = ExportedModel(
        architecture=architecture or type(module).__name__,
        task=task,
        inputs=tuple(input_names),
        parameters=infos,
        order=tuple(name for name, _ in module.named_parameters()),
        prefix=prefix,
        renamed=dict(renamed or {}),
        graph=sha256(graph),
        deviation=deviation,
    )
    reference = {**dict(zip(input_names, example_inputs, strict=True)), "output": expected}
    write_durably(folder / GRAPH_FILE, graph, mode=0o644)
    write_durably(folder / WEIGHTS_FILE, write_tensors(state), mode=0o644)
    write_durably(folder / REFERENCE_FILE, write_tensors(reference), mode=0o644)
    write_durably(folder / MODEL_FILE, canonical_bytes(model), mode=0o644)
    return model


def read_exported_model(folder: Path) -> tuple[ExportedModel, bytes]:
    """Return what an exported model is, and its graph.

    Raises:
        ArtifactMissingError: If a file is missing.
        InputError: If the files do not belong together.
    """
    model = parse_record(
        ExportedModel, read_file(folder / MODEL_FILE, remedy=REMEDY), where=MODEL_FILE
    )
    graph = read_file(folder / GRAPH_FILE, remedy=REMEDY)
    if sha256(graph) != model.graph:
        raise InputError(
            str(folder / GRAPH_FILE),
            expected=f"the graph of {MODEL_FILE}",
            found="another one",
            remedy="Export the model again.",
        )
    return model, graph


def require_reference(folder: Path, state: Mapping[str, Tensor]) -> float:
    """Return how far a checkpoint's outputs are from the exported model's reference outputs.

    Args:
        folder: An exported model.
        state: The checkpoint that it was exported from, by name, ties once.

    Raises:
        StageLogError: If they are further apart than :data:`TOLERANCE`; causes are named in order.
    """
    model, graph = read_exported_model(folder)
    reference = read_tensors(
        read_file(folder / REFERENCE_FILE, remedy=REMEDY), where=REFERENCE_FILE
    )
    inputs = tuple(reference[name] for name in model.inputs)
    return _deviation(
        graph, model.parameters, state=state, inputs=inputs, expected=reference["output"]
    )


def _eager_output(module: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            output = module(*inputs)
    finally:
        for part, training in modes:
            part.training = training
    if not isinstance(output, Tensor):
        raise InputError(
            f"module {type(module).__name__}",
            expected="one tensor as output",
            found=type(output).__name__,
            remedy="Wrap the module so that its forward returns the logits.",
        )
    return output.detach().clone()


def _deviation(
    graph: bytes,
    infos: Mapping[str, ParameterInfo],
    *,
    state: Mapping[str, Tensor],
    inputs: tuple[Tensor, ...],
    expected: Tensor,
) -> float:
    model = OnnxModel.load(graph, names=infos)
    plan = model.specialise(tuple(tuple(tensor.shape) for tensor in inputs), mode="eval")
    with torch.no_grad():
        found = plan(
            {name: state[name] for name in model.params},
            {name: state[name] for name in model.buffers},
            *inputs,
        ).values[0]
    scale = max(expected.abs().max().item(), torch.finfo(torch.float32).tiny)
    deviation = (found.double() - expected.double()).abs().max().item() / scale
    if not deviation <= TOLERANCE:  # also when it is no number
        raise StageLogError(
            "graph against reference outputs",
            expected=f"outputs within {TOLERANCE:.0e} of torch's own, relative to the largest",
            found=f"{deviation:.1e}",
            remedy="Likely causes, in order: weights of another checkpoint; a graph exported with "
            "the exporter's optimiser; a layer that behaves otherwise in evaluation mode; an "
            "operator that this release computes wrongly (please report it).",
        )
    return float(deviation)


__all__ = [
    "Digest", "ExportedModel", "ModelTask", "export_model", "read_exported_model",
    "require_reference",
]  # fmt: skip
