"""Checkpoints and added values against the parameters of the manifest."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from auditor.errors import StageLogError
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest
from auditor.stagelog.log import Checkpoint, Stage, StageLog
from auditor.stagelog.safetensors_header import TensorEntry
from auditor.stagelog.tensors import DTYPES, require_finite_tensor, tensor_entries, view

SLOTS_OF = {
    "sgd": ("momentum_buffer", "initialised"),
    "adam": ("exp_avg", "exp_avg_sq", "count"),
    "adamw": ("exp_avg", "exp_avg_sq", "count"),
}
"""What each optimizer remembers of a parameter."""

AVERAGE_SLOT = "average"
"""The moving average of a parameter, in checkpoints inside a stage that keeps one."""

SCALAR_SLOTS = frozenset({"initialised", "count"})
NONNEGATIVE_SLOTS = frozenset({"initialised", "count", "exp_avg_sq"})


def check_checkpoint(
    log: StageLog,
    checkpoint: Checkpoint,
    blobs: BlobStore,
    *,
    present: Collection[str],
    kind: str,
    where: str,
    moved: Collection[str] = (),
) -> None:
    """Refuse a checkpoint that is not the state of the model at its step.

    Args:
        log: The log.
        checkpoint: One of its checkpoints.
        blobs: Where its blobs are.
        present: Parameters and buffers of the model there.
        kind: Kind of the optimizer there.
        where: Path of the checkpoint.
        moved: Parameters whose optimizer state must be there.

    Raises:
        StageLogError: If a tensor is missing, unknown or of another dtype or shape, or an
            optimizer tensor has values that it cannot have.
        NumericalError: If a number is not finite.
    """
    owners = [name for name in present if log.parameters[name].tied_to is None]
    _check_values(log, checkpoint.values, blobs, names=owners, where=f"{where}.parameters")
    if checkpoint.optimizer is None:
        return
    where = f"{where}.optimizer"
    data = blobs.read(Digest(checkpoint.optimizer))
    entries = tensor_entries(data, where=where)
    slots = SLOTS_OF.get(kind, ())
    allowed = (*slots, AVERAGE_SLOT)
    for key, entry in entries.items():
        slot, _, name = key.partition("/")
        if slot not in allowed or name not in owners or log.parameters[name].kind != "parameter":
            raise StageLogError(
                where,
                expected=f"{' or '.join(slots) or 'no slot'} of a parameter, as <slot>/<name>",
                found=key,
                remedy="Record the state of the stage's own optimizer.",
            )
        shape = () if slot in SCALAR_SLOTS else log.parameters[name].shape
        _check_entry(
            data, entry, dtype=log.parameters[name].dtype, shape=shape, where=f"{where}[{key}]"
        )
        _check_domain(slot, view(data, entry), where=f"{where}[{key}]")
    recorded = {key.partition("/")[2] for key in entries} | set(moved)
    missing = [f"{s}/{n}" for n in sorted(recorded) for s in slots if f"{s}/{n}" not in entries]
    if missing:
        raise StageLogError(
            where,
            expected=f"every slot of each parameter that was moved, such as {missing[0]}",
            found=f"{len(missing)} missing",
            remedy="Record the whole optimizer state.",
        )


def check_added_values(log: StageLog, stage: Stage, blobs: BlobStore, *, where: str) -> None:
    """Refuse initial values that are not those of the added parameters.

    Raises:
        StageLogError: If a tensor is missing, unknown or of another dtype or shape.
        NumericalError: If a number is not finite.
    """
    if stage.transition.added_values is not None:
        names = [n for n in stage.transition.added if log.parameters[n].tied_to is None]
        _check_values(log, (stage.transition.added_values,), blobs, names=names, where=where)


def _check_values(
    log: StageLog, digests: Sequence[str], blobs: BlobStore, *, names: Collection[str], where: str
) -> None:
    """Check the values in the last blob, and that the others hold the rest."""
    values: dict[str, tuple[memoryview, TensorEntry]] = {}
    entries: Mapping[str, TensorEntry] = {}
    for digest in digests:
        data = blobs.read(Digest(digest))
        entries = tensor_entries(data, where=where)
        # Of the others only what the model has counts; of the last one everything.
        last = digest == digests[-1]
        values |= {n: (data, entry) for n, entry in entries.items() if last or n in names}
    wrong = sorted(set(names) ^ set(values))
    if wrong:
        raise StageLogError(
            where,
            expected=f"the {len(names)} parameters and buffers of the model there",
            found=f"{len(values)}; differing: {', '.join(wrong[:3])}",
            remedy="Record all of them by their names in the state dict, ties once.",
        )
    for name, (data, entry) in values.items():
        info = log.parameters[name]
        _check_entry(data, entry, dtype=info.dtype, shape=info.shape, where=f"{where}[{name}]")


def _check_entry(
    data: memoryview, entry: TensorEntry, *, dtype: str, shape: tuple[int, ...], where: str
) -> None:
    if DTYPES[entry.dtype] != dtype or entry.shape != shape:
        raise StageLogError(
            where,
            expected=f"{dtype} {list(shape)}",
            found=f"{DTYPES[entry.dtype]} {list(entry.shape)}",
            remedy="Correct the manifest's parameters, or record the checkpoint again.",
        )
    require_finite_tensor(data, entry, where=where)


def _check_domain(slot: str, values: np.ndarray, *, where: str) -> None:
    if values.dtype.kind != "f":
        return
    if (slot in NONNEGATIVE_SLOTS and (values < 0).any()) or (
        slot == "initialised" and (values > 1).any()
    ):
        raise StageLogError(
            where,
            expected="a number from 0 to 1" if slot == "initialised" else "numbers >= 0",
            found=float(values.min()),
            remedy="Record the optimizer state as it is.",
        )
