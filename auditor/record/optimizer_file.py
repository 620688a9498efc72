"""The optimizer that a trainer saved, by the names of the model's parameters."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from auditor.stagelog.log import Optimizer, ParameterInfo
from auditor.stagelog.optimizer_columns import COLUMNS_OF

OPTIMIZER_FILE = "optimizer.pt"

_UNDECAYED = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)")
"""Names to which the Hugging Face Trainer applies no weight decay, as its own source has them."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class NamedOptimizer:
    """An optimizer's arithmetic, groups and memory.

    Attributes:
        arithmetic: Its kind and options.
        groups: Parameter names of each group.
        numbers: Hyperparameters of each group when it was saved, by column of a schedule.
        rates: Learning rate of each group over that of the first.
        slots: ``<slot>/<name>``, as a checkpoint of a log holds them.
    """

    arithmetic: Optimizer
    groups: tuple[tuple[str, ...], ...]
    numbers: tuple[Mapping[str, float], ...]
    rates: tuple[float, ...]
    slots: Mapping[str, Tensor]


def named_optimizer(
    content: object, *, order: Sequence[str], infos: Mapping[str, ParameterInfo]
) -> NamedOptimizer | str:
    """Return a saved optimizer, or why its numbers cannot be given to parameters by name.

    A saved optimizer numbers its parameters. Tried are all of them in the model's order, and those
    with weight decay before those without, as the Hugging Face Trainer groups them; what is taken
    fits every shape.

    Args:
        content: What ``optimizer.state_dict()`` was, as plain values.
        order: Parameters in the order of the module.
        infos: Their shapes.
    """
    if not isinstance(content, dict) or not {"state", "param_groups"} <= content.keys():
        return "the file holds no optimizer state"
    groups, state = content["param_groups"], content["state"]
    if not _well_formed(groups, state):
        return "the file holds another kind of optimizer state"
    arithmetic = _arithmetic(groups)
    if arithmetic is None:
        return "the optimizer is not SGD, Adam or AdamW of torch.optim"
    sizes = [len(group["params"]) for group in groups]
    for names in _orders(order, infos, count=len(sizes)):
        if len(names) == sum(sizes) and _fits(names, state, infos):
            return _named(names, groups, state=state, arithmetic=arithmetic, infos=infos)
    return f"its {sum(sizes)} parameters in {len(sizes)} groups fit no known order of the model's"


def _well_formed(groups: object, state: object) -> bool:
    return (
        isinstance(state, dict)
        and isinstance(groups, list)
        and bool(groups)
        and all(isinstance(g, dict) and isinstance(g.get("params"), list) for g in groups)
        and all(isinstance(part, dict) for part in state.values())
    )


def _arithmetic(groups: Sequence[Mapping[str, Any]]) -> Optimizer | None:
    first = groups[0]
    flags = {name: bool(first.get(name, False)) for name in ("nesterov", "amsgrad", "maximize")}
    if "betas" in first and "eps" in first:
        # Releases of torch before 2.8 do not say; the trainer's own is AdamW.
        decoupled = first.get("decoupled_weight_decay", True)
        return Optimizer(kind="adamw" if decoupled else "adam", **flags)
    if "momentum" in first and "dampening" in first:
        return Optimizer(kind="sgd", **flags)
    return None


def _orders(
    order: Sequence[str], infos: Mapping[str, ParameterInfo], *, count: int
) -> list[list[str]]:
    if count == 1:
        return [list(order)]
    by_name = [name for name in order if not _UNDECAYED.search(name.lower())]
    by_axes = [name for name in order if len(infos[name].shape) > 1]
    return [
        [*decayed, *(name for name in order if name not in set(decayed))]
        for decayed in (by_axes, by_name)
    ]


def _fits(
    names: Sequence[str], state: Mapping[str, Any], infos: Mapping[str, ParameterInfo]
) -> bool:
    for number, name in enumerate(names):
        moments = state.get(str(number), {})
        for slot in ("exp_avg", "exp_avg_sq", "momentum_buffer"):
            tensor = moments.get(slot)
            if isinstance(tensor, Tensor) and tuple(tensor.shape) != infos[name].shape:
                return False
    return True


def _named(
    names: Sequence[str],
    groups: Sequence[Mapping[str, Any]],
    *,
    state: Mapping[str, Any],
    arithmetic: Optimizer,
    infos: Mapping[str, ParameterInfo],
) -> NamedOptimizer | str:
    grouped: list[tuple[str, ...]] = []
    numbers: list[dict[str, float]] = []
    begin = 0
    for group in groups:
        grouped.append(tuple(names[begin : begin + len(group["params"])]))
        begin += len(group["params"])
        values = dict(group)
        if "betas" in values:
            values["beta1"], values["beta2"] = values["betas"]
        columns = COLUMNS_OF[arithmetic.kind]
        if not all(isinstance(values.get(name), int | float) for name in columns):
            return "a group lacks one of " + ", ".join(columns)
        numbers.append({name: float(values[name]) for name in columns})
    initial = [float(group.get("initial_lr", group["lr"])) for group in groups]
    slots: dict[str, Tensor] = {}
    for number, name in enumerate(names):
        slots |= _slots(state.get(str(number), {}), name, dtype=infos[name].dtype)
    return NamedOptimizer(
        arithmetic=arithmetic,
        groups=tuple(grouped),
        numbers=tuple(numbers),
        rates=tuple(rate / initial[0] if initial[0] else 1.0 for rate in initial),
        slots=slots,
    )


def _slots(moments: Mapping[str, Any], name: str, *, dtype: str) -> dict[str, Tensor]:
    wanted: torch.dtype = getattr(torch, dtype)
    if isinstance(moments.get("momentum_buffer"), Tensor):
        return {
            f"momentum_buffer/{name}": moments["momentum_buffer"].to(wanted),
            f"initialised/{name}": torch.ones((), dtype=wanted),
        }
    if not {"exp_avg", "exp_avg_sq", "step"} <= moments.keys():
        return {}
    return {
        f"exp_avg/{name}": moments["exp_avg"].to(wanted),
        f"exp_avg_sq/{name}": moments["exp_avg_sq"].to(wanted),
        f"count/{name}": torch.tensor(float(moments["step"]), dtype=wanted),
    }
