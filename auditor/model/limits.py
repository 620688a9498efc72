"""How large an uploaded graph or tensor file may be before it is opened any further."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportLimits:
    """Bounds that are checked before the memory they protect is asked for.

    The parse child of the service adds limits of its own on address space and time.
    """

    graph_bytes: int = 64 * 2**20  #: an ONNX graph without weights
    model_bytes: int = 2**31 - 1  #: an ONNX model with weights: protobuf's own bound
    nodes: int = 100_000  #: nodes of a graph
    initializers: int = 100_000  #: initialisers of a graph, and tensors of a safetensors file
    values: int = 4_096  #: inputs, outputs or operands of a graph or a node
    rank: int = 8  #: axes of a tensor
    dimension: int = 2**40  #: length of an axis
    name_characters: int = 512  #: of a tensor or node name
    constant_bytes: int = 64 * 2**20  #: constants that a graph without weights carries, together
    folded_bytes: int = 256 * 2**20  #: constants computed while a graph is specialised, together
    header_bytes: int = 16 * 2**20  #: header of a safetensors file
    value_bytes: int = 2**36  #: any one value that a plan computes
    plans: int = 32  #: specialised plans that are kept for one model


DEFAULT_LIMITS = ImportLimits()
"""The service's limits."""
