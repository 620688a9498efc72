"""Write copies of the training state as checkpoints; what has not changed is written once."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import final

from torch import Tensor

from auditor.model.tensors import write_tensors
from auditor.record.snapshot import Snapshot, equal_tensors
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.log import Checkpoint, CheckpointRole

LEAST_SHARED_PART = 0.1
"""Tensors are referred to where they are at least this part of the state's bytes."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class StoredState:
    """A state that is in a store.

    Attributes:
        tensors: Its parameters and buffers.
        owners: The digest of the blob that holds each of them.
        checkpoint: Its manifest entry; None for a base model that is no checkpoint of the run.
    """

    tensors: Mapping[str, Tensor]
    owners: Mapping[str, str]
    checkpoint: Checkpoint | None

    @property
    def as_checkpoints(self) -> tuple[Checkpoint, ...]:
        """The manifest entry, if there is one."""
        return () if self.checkpoint is None else (self.checkpoint,)


def write_state(
    step: int,
    role: CheckpointRole,
    state: Snapshot,
    *,
    blobs: BlobStore,
    before: StoredState | None,
) -> StoredState:
    """Return a state whose blobs are written, without what an earlier one holds already.

    So the checkpoint of a stage that trains an adapter costs what the adapter has.

    Args:
        step: The state is that at the start of this step.
        role: Why it is kept.
        state: The copy.
        blobs: Where it goes.
        before: An earlier state.
    """
    tensors = state.tensors
    same = _same(tensors, before)
    owners = {name: owner for name, owner in _owners(before).items() if name in same}
    if before is not None and same == set(tensors) == set(before.tensors) and before.checkpoint:
        unchanged, parameters = before.checkpoint.unchanged or (), before.checkpoint.parameters
    else:
        written = {name: tensor for name, tensor in tensors.items() if name not in same}
        parameters = write_blob(written, blobs=blobs)
        order = [] if before is None else list(dict.fromkeys(before.owners.values()))
        unchanged = tuple(digest for digest in order if digest in set(owners.values()))
        owners |= dict.fromkeys(written, parameters)
    checkpoint = Checkpoint(
        step=step,
        unchanged=unchanged or None,
        parameters=parameters,
        optimizer=write_blob(state.slots, blobs=blobs),
        role=role,
    )
    # Older blobs first: a later one counts where both hold a name.
    ordered = sorted(owners.items(), key=lambda item: (*unchanged, parameters).index(item[1]))
    return StoredState(tensors=tensors, owners=dict(ordered), checkpoint=checkpoint)


def with_frozen(
    stored: StoredState | None, state: Snapshot, *, frozen: Collection[str], blobs: BlobStore
) -> StoredState | None:
    """Return the stored state with frozen tensors that it lacks, written once for a whole stage.

    Wrapping a model in adapters gives its base new names: without this every checkpoint of the
    stage would hold the base again.

    Args:
        stored: The state at the last boundary.
        state: The state as the stage starts.
        frozen: Names that the stage does not train.
        blobs: Where they go.
    """
    if stored is None:
        return None
    same = _same(state.tensors, stored)
    new = {n: t for n, t in state.tensors.items() if n in frozen and n not in same}
    total = sum(_bytes(tensor) for tensor in state.tensors.values())
    if not new or sum(_bytes(tensor) for tensor in new.values()) < LEAST_SHARED_PART * total:
        return stored
    digest = write_blob(new, blobs=blobs)
    return StoredState(
        tensors={**{n: stored.tensors[n] for n in same}, **new},
        owners={
            **{n: o for n, o in stored.owners.items() if n in same},
            **dict.fromkeys(new, digest),
        },
        checkpoint=None,
    )


def write_blob(tensors: Mapping[str, Tensor], *, blobs: BlobStore) -> str:
    """Return the digest of named tensors, written as safetensors."""
    return blobs.write(write_tensors(tensors))


def _owners(before: StoredState | None) -> Mapping[str, str]:
    return {} if before is None else before.owners


def _same(tensors: Mapping[str, Tensor], before: StoredState | None) -> set[str]:
    """Return the names whose tensors need not be written again; none where they are few bytes."""
    if before is None:
        return set()
    same = {
        name
        for name, tensor in tensors.items()
        if name in before.tensors and equal_tensors(before.tensors[name], tensor)
    }
    total = sum(_bytes(tensor) for tensor in tensors.values())
    shared = sum(_bytes(tensors[name]) for name in same)
    return same if same and shared >= LEAST_SHARED_PART * total else set()


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
