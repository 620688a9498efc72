"""The weights of a complete ONNX model file, for comparison with a checkpoint; no torch."""

import numpy as np

from auditor.errors import ResourceError
from auditor.model.limits import DEFAULT_LIMITS, ImportLimits
from auditor.model.onnx_structure import check_structure, parse_model
from auditor.model.onnx_tensors import tensor_array, tensor_bytes


def onnx_weights(
    blob: bytes | bytearray | memoryview, *, limits: ImportLimits = DEFAULT_LIMITS
) -> dict[str, np.ndarray]:
    """Return every initialiser of an ONNX file by name.

    The operators are not looked at: a model may be deployed in a form that this release does not
    import, as long as its parameters keep their names.

    Args:
        blob: The whole file, with its weights inside.
        limits: Bounds on size, number of tensors, axes and names.

    Raises:
        InputError: If the file is no valid ONNX model, or its weights lie in other files.
        UnsupportedError: If a dtype is not accepted, or the model has functions or subgraphs.
        ResourceError: If a limit is exceeded.
    """
    model = parse_model(blob, largest=limits.model_bytes, limits=limits)
    check_structure(model, limits=limits)
    places = {tensor.name: f"initialiser {tensor.name!r}" for tensor in model.graph.initializer}
    total = sum(
        tensor_bytes(tensor, where=places[tensor.name], limits=limits)
        for tensor in model.graph.initializer
    )
    # Typed fields may be denser than the array they describe: what counts is the array.
    if total > limits.model_bytes:
        raise ResourceError(
            "ONNX file",
            expected=f"at most {limits.model_bytes} bytes of weights",
            found=total,
            remedy="Push the weights as a safetensors file.",
        )
    return {
        tensor.name: tensor_array(tensor, where=places[tensor.name])
        for tensor in model.graph.initializer
    }
