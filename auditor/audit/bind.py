"""Is this the model the log describes? An artifact's tensors against the final checkpoint."""

from typing import Literal

import torch
from torch import Tensor

from auditor.errors import PreconditionError
from auditor.model.onnx_weights import onnx_weights
from auditor.model.tensors import read_tensors
from auditor.plan.actions import BindingFinding
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest
from auditor.stagelog.log import StageLog

_REMEDY = "Push the file that this run produced, or the log of the run that produced this file."


def bind_model(log: StageLog, model: Digest, *, blobs: BlobStore) -> BindingFinding:
    """Compare a model artifact with the log's final checkpoint, bit for bit.

    Args:
        log: The audited log.
        model: Digest of a safetensors file, or of an ONNX file with weights.
        blobs: Where both are stored.

    Returns:
        The finding; a mismatch does not return.

    Raises:
        PreconditionError: If a tensor is missing, added or differs; names the first one.
        InputError: If the artifact is neither safetensors nor ONNX.
    """
    recorded = read_tensors(
        blobs.read(Digest(log.boundary(len(log.stages)).parameters)), where="final checkpoint"
    )
    data = blobs.read(model)
    kind, tensors = read_artifact(data)
    aliases = {name for name, info in log.parameters.items() if info.tied_to is not None}
    buffers = {name for name, info in log.parameters.items() if info.kind == "buffer"}
    for name, expected in recorded.items():
        if name not in tensors:
            # An exporter may drop counters and aliases of tied tensors; nothing else.
            if name in aliases or (name in buffers and not expected.is_floating_point()):
                continue
            raise _mismatch(name, expected=_described(expected), found="nothing")
        _compare(name, expected, tensors[name])
    surplus = sorted(set(tensors) - set(recorded) - aliases)
    if surplus and kind == "safetensors":
        raise _mismatch(surplus[0], expected="no such tensor in the log", found="a tensor")
    return BindingFinding(bound=True, tensors=len(recorded), format=kind)


def read_artifact(
    data: memoryview,
) -> tuple[Literal["safetensors", "onnx"], dict[str, Tensor]]:
    """Return the format and the tensors of a model artifact."""
    if looks_like_safetensors(data):
        return "safetensors", read_tensors(data, where="model")
    arrays = onnx_weights(bytes(data))
    return "onnx", {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def looks_like_safetensors(data: memoryview) -> bool:
    """Say whether the bytes begin like a safetensors file: a length, then a JSON object."""
    return len(data) > 9 and bytes(data[8:9]) == b"{"


def _compare(name: str, expected: Tensor, found: Tensor) -> None:
    if expected.dtype != found.dtype or expected.shape != found.shape:
        raise _mismatch(name, expected=_described(expected), found=_described(found))
    if not torch.equal(expected, found):
        difference = (expected.double() - found.double()).abs().max().item()
        raise _mismatch(
            name,
            expected="the values of the log's final checkpoint",
            found=f"values that differ by up to {difference:.3g}",
        )


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {list(tensor.shape)}"


def _mismatch(name: str, *, expected: str, found: str) -> PreconditionError:
    return PreconditionError(
        f"model.parameters[{name}]", expected=expected, found=found, remedy=_REMEDY
    )
