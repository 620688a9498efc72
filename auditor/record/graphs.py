"""The forward computation of a stage as a graph of the log."""

from collections.abc import Collection, Sequence
from typing import Protocol

from torch import Tensor, nn

from auditor.model.onnx_graph import check_graph
from auditor.record.facts import ForwardFacts
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.log import Graph, GraphValue


class Exporter(Protocol):
    """What turns a module into an ONNX graph without weights."""

    def __call__(
        self, module: nn.Module, example_inputs: tuple[Tensor, ...], *, input_names: Sequence[str]
    ) -> bytes:
        """Return the graph; the first axis of every input is the batch."""


def describe_graph(
    onnx: bytes, *, state_names: Collection[str], facts: ForwardFacts, blobs: BlobStore
) -> Graph:
    """Return the manifest entry of a graph that is written to ``blobs``.

    Args:
        onnx: The graph without weights.
        state_names: Parameters and buffers, which the graph lists among its inputs.
        facts: Modes of the modules when the loss was computed.
        blobs: Where the graph goes.
    """
    description = check_graph(onnx)
    return Graph(
        onnx=blobs.write(onnx),
        inputs=tuple(
            GraphValue(name=value.name, dtype=value.dtype, shape=value.shape)
            for value in description.inputs
            if value.name not in state_names
        ),
        outputs=tuple(
            GraphValue(name=value.name, dtype=value.dtype, shape=value.shape)
            for value in description.outputs
        ),
        batch_norm=facts.batch_norm,
        dropout=facts.dropout,
        running_norms=facts.running_norms or None,
    )
