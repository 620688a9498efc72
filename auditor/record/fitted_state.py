"""Fit a saved state to a model: the model's names, ties once, one dtype; what differs is named."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import final

from torch import Tensor

from auditor.errors import InputError, ShapeError, UnsupportedError
from auditor.model.tensors import DTYPES
from auditor.record.evalset import DTYPE_NAMES
from auditor.stagelog.log import ParameterInfo

_WIDENED = frozenset({"float16", "bfloat16"})
_EMBEDDINGS = ("embed", "wte", "lm_head", "shared")
_QUANTISED = ("qweight", "qzeros", "absmax", "SCB", "quant_map", "weight_scale", "scale_inv")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class FittedState:
    """A checkpoint by the names of a model.

    Attributes:
        tensors: Parameters and buffers of the model, ties once.
        missing: Names of the model that the checkpoint lacks.
        surplus: Names of the checkpoint that the model lacks; they are left out.
        widened: Dtypes of half precision that were widened, which is exact.
    """

    tensors: Mapping[str, Tensor]
    missing: tuple[str, ...]
    surplus: tuple[str, ...]
    widened: tuple[str, ...]


def fitted_state(
    tensors: Mapping[str, Tensor],
    infos: Mapping[str, ParameterInfo],
    *,
    prefix: str,
    where: str,
) -> FittedState:
    """Return a checkpoint by a model's names.

    A prefix that all names share, such as ``module.`` or ``model.``, is dropped; the prefix of a
    bare model is added. Of tied names either may be stored.

    Args:
        tensors: By the names of the file.
        infos: The model's names, tied ones too.
        prefix: What names of the bare model lack, such as ``bert.``; may be empty.
        where: What the checkpoint is called in messages.

    Raises:
        ShapeError: If a tensor has another shape than the model's: another head, or resized
            embeddings.
        UnsupportedError: If it is quantised, or of a dtype that the model's cannot hold.
        InputError: If no name of the checkpoint is the model's, or tied names differ.
    """
    _refuse_quantised(tensors, infos, where=where)
    renamed = _renamed(tensors, infos, prefix=prefix)
    if not renamed.keys() & infos.keys():
        raise InputError(
            where,
            expected=f"tensors of the model, such as {next(iter(infos), 'none')}",
            found=f"{len(tensors)} others, such as {next(iter(tensors), 'none')}",
            remedy="Check that the checkpoint and the exported model are of one architecture.",
        )
    found: dict[str, Tensor] = {}
    widened: set[str] = set()
    for name, tensor in renamed.items():
        info = infos.get(name)
        if info is None:
            continue
        if tuple(tensor.shape) != info.shape:
            raise _other_shape(name, found=tuple(tensor.shape), expected=info.shape, where=where)
        dtype = DTYPE_NAMES.get(tensor.dtype, str(tensor.dtype))
        value = _in_dtype(name, tensor, info, where=where)
        if dtype != info.dtype:
            widened.add(dtype)
        owner = info.tied_to or name
        if owner in found and not found[owner].equal(value):
            raise InputError(
                f"{where}: {name}",
                expected=f"the values of {owner}, which the model ties to it",
                found="other values",
                remedy="Set tie_word_embeddings to false in config.json if they were trained "
                "apart, and save the model again.",
            )
        found[owner] = value
    owners = [name for name, info in infos.items() if info.tied_to is None]
    return FittedState(
        tensors={name: found[name] for name in owners if name in found},
        missing=tuple(name for name in owners if name not in found),
        surplus=tuple(sorted(set(renamed) - set(infos))),
        widened=tuple(sorted(widened)),
    )


def merged_infos(
    known: Mapping[str, ParameterInfo], own: Mapping[str, ParameterInfo], *, where: str
) -> dict[str, ParameterInfo]:
    """Return the names of several models together.

    Raises:
        ShapeError: If a name has another shape, dtype or tie in one of them.
    """
    for name, info in own.items():
        before = known.get(name, info)
        if before.shape != info.shape:
            raise _other_shape(name, found=before.shape, expected=info.shape, where=where)
        if before != info:
            raise UnsupportedError(
                f"{where}: {name}",
                expected=f"{before.dtype} tied to {before.tied_to}, as in the stages before",
                found=f"{info.dtype} tied to {info.tied_to}",
                remedy="Convert all checkpoints of the run to one dtype before they are imported.",
            )
    return {**known, **own}


def _renamed(
    tensors: Mapping[str, Tensor], infos: Mapping[str, ParameterInfo], *, prefix: str
) -> dict[str, Tensor]:
    """Return the tensors under the renaming that fits most names; as they are, if none is better.

    A bare model lacks the prefix on all of its own names.
    """
    names = set(infos)
    best, most = dict(tensors), len(names & tensors.keys())
    if prefix:
        added = {name if name in names else prefix + name: t for name, t in tensors.items()}
        if len(names & added.keys()) > most and not any(n.startswith(prefix) for n in tensors):
            best, most = added, len(names & added.keys())
    for dropped in sorted(_shared_prefixes(tensors, names)):
        stripped = {name.removeprefix(dropped): tensor for name, tensor in tensors.items()}
        if len(stripped) == len(tensors) and len(names & stripped.keys()) > most:
            best, most = stripped, len(names & stripped.keys())
    return best


def _shared_prefixes(tensors: Mapping[str, Tensor], names: Collection[str]) -> set[str]:
    """Return what stands before a name of the model, up to a dot, in the checkpoint's names."""
    found: set[str] = set()
    for own in tensors:
        parts = own.split(".")
        for count in range(1, len(parts)):
            if ".".join(parts[count:]) in names:
                found.add(".".join(parts[:count]) + ".")
    return found


def _other_shape(
    name: str, *, found: tuple[int, ...], expected: tuple[int, ...], where: str
) -> ShapeError:
    resized = any(part in name.lower() for part in _EMBEDDINGS)
    return ShapeError(
        f"{where}: {name}",
        expected=f"shape {list(expected)}, as the stage's model has it"
        + (" (resized embeddings?)" if resized else " (a replaced head?)"),
        found=f"shape {list(found)}",
        remedy="Load the earlier checkpoint, call model.resize_token_embeddings(SIZE) and save it "
        "again: a name has one shape in a log."
        if resized
        else "A name has one shape in a log: delete this tensor from the earlier checkpoint and "
        "pass --added zeros, or save it under another name.",
    )


def _in_dtype(name: str, tensor: Tensor, info: ParameterInfo, *, where: str) -> Tensor:
    """Return the tensor in the model's dtype; only half precision may change, by widening."""
    dtype = DTYPE_NAMES.get(tensor.dtype)
    if dtype == info.dtype:
        return tensor
    if dtype in _WIDENED and info.dtype in {"float32", "float64"}:
        wanted = next(d for d in DTYPES.values() if DTYPE_NAMES[d] == info.dtype)
        return tensor.to(wanted)
    raise UnsupportedError(
        f"{where}: {name}",
        expected=f"{info.dtype} as in the model, or half precision, which is widened",
        found=dtype or tensor.dtype,
        remedy="Convert all checkpoints of the run to one dtype before they are imported.",
    )


def _refuse_quantised(
    tensors: Mapping[str, Tensor], infos: Mapping[str, ParameterInfo], *, where: str
) -> None:
    for name, tensor in tensors.items():
        stored_whole = name in infos and "float" in infos[name].dtype
        if name.rpartition(".")[2] in _QUANTISED or (
            stored_whole and not tensor.is_floating_point()
        ):
            raise UnsupportedError(
                f"{where}: {name}",
                expected="weights in float32, float16, bfloat16 or float64",
                found=f"{DTYPE_NAMES.get(tensor.dtype, tensor.dtype)} of a quantised layer",
                remedy="Import the checkpoint as it was trained, before it was quantised; or "
                "dequantise it with model.dequantize() and save it again.",
            )
