"""Write copies of the training state as checkpoints."""

from collections.abc import Mapping

from torch import Tensor

from auditor.model.tensors import write_tensors
from auditor.record.snapshot import Snapshot
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.log import Checkpoint, CheckpointRole


def write_checkpoint(
    step: int, role: CheckpointRole, state: Snapshot, *, blobs: BlobStore
) -> Checkpoint:
    """Return the manifest entry of a state whose blobs are written.

    Args:
        step: The state is that at the start of this step.
        role: Why it is kept.
        state: The copy.
        blobs: Where it goes.
    """
    return Checkpoint(
        step=step,
        parameters=write_blob(state.tensors, blobs=blobs),
        optimizer=write_blob(state.slots, blobs=blobs),
        role=role,
    )


def write_blob(tensors: Mapping[str, Tensor], *, blobs: BlobStore) -> str:
    """Return the digest of named tensors, written as safetensors."""
    return blobs.write(write_tensors(tensors))
