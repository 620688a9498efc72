"""The model's state by name: what is in it, which names are tied, and copies of it."""

import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn

from auditor.errors import UnsupportedError
from auditor.record.evalset import DTYPE_NAMES
from auditor.stagelog.log import ParameterInfo


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """The training state at one moment, copied to the CPU.

    Attributes:
        infos: Every name of the state, tied ones too.
        tensors: Parameters and persistent buffers by name; of tied names only the owner.
        slots: Optimizer tensors as ``<slot>/<name>``.
        holders: The module's own tensor of each name of ``tensors``, as long as it lives.
    """

    infos: Mapping[str, ParameterInfo]
    tensors: Mapping[str, Tensor]
    slots: Mapping[str, Tensor]
    holders: Mapping[str, "weakref.ref[Tensor]"] = field(default_factory=dict)


def describe_state(model: nn.Module) -> dict[str, ParameterInfo]:
    """Return every parameter and persistent buffer by its name in the state dict.

    Names that share one tensor are tied to the first of them.

    Raises:
        UnsupportedError: If a tensor has a dtype that cannot be recorded.
    """
    owners: dict[int, str] = {}
    infos: dict[str, ParameterInfo] = {}
    for name, tensor, kind in _entries(model):
        if tensor.dtype not in DTYPE_NAMES:
            raise UnsupportedError(
                f'parameters["{name}"]',
                expected=f"one of {', '.join(DTYPE_NAMES.values())}",
                found=tensor.dtype,
                remedy="Convert the parameter or buffer.",
            )
        owner = owners.setdefault(id(tensor), name)
        infos[name] = ParameterInfo.model_validate({
            "shape": tuple(tensor.shape),
            "dtype": DTYPE_NAMES[tensor.dtype],
            "kind": kind,
            "tied_to": None if owner == name else owner,
        })
    return infos


def parameter_names(model: nn.Module) -> dict[int, str]:
    """Return the owner's name of every parameter object, by ``id``."""
    return {id(parameter): name for name, parameter in model.named_parameters()}


def copy_state(model: nn.Module) -> dict[str, Tensor]:
    """Return copies on the CPU of all parameters and persistent buffers, ties once."""
    with torch.no_grad():
        seen: set[int] = set()
        copies: dict[str, Tensor] = {}
        for name, tensor, _ in _entries(model):
            if id(tensor) not in seen:
                seen.add(id(tensor))
                copies[name] = tensor.detach().to("cpu", copy=True).contiguous()
        return copies


def holders_of(model: nn.Module) -> dict[str, "weakref.ref[Tensor]"]:
    """Return the tensor that each name stands for, without keeping it alive."""
    seen: set[int] = set()
    holders: dict[str, weakref.ref[Tensor]] = {}
    for name, tensor, _ in _entries(model):
        if id(tensor) not in seen:
            seen.add(id(tensor))
            holders[name] = weakref.ref(tensor)
    return holders


def equal_tensors(first: Tensor, second: Tensor) -> bool:
    """Return whether two tensors have the same dtype, shape and values."""
    return first.dtype == second.dtype and torch.equal(first, second)


def _entries(model: nn.Module) -> Iterator[tuple[str, Tensor, str]]:
    """Yield name, tensor and kind; buffers that a state dict leaves out are constants."""
    persistent = model.state_dict(keep_vars=True).keys()
    for name, parameter in model.named_parameters(remove_duplicate=False):
        yield name, parameter, "parameter"
    for name, buffer in model.named_buffers(remove_duplicate=False):
        if name in persistent:
            yield name, buffer, "buffer"
