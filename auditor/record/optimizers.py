"""What a torch optimizer is, does in a step, and remembers, in the terms of a stage log."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW
from torch.optim.optimizer import Optimizer as TorchOptimizer

from auditor.errors import UnsupportedError
from auditor.stagelog.log import Optimizer
from auditor.stagelog.optimizer_columns import COLUMNS_OF


def describe_optimizer(optimizer: TorchOptimizer) -> Optimizer:
    """Return the arithmetic that all groups of an optimizer share.

    Raises:
        UnsupportedError: If it is not SGD, Adam or AdamW of ``torch.optim``, or its groups differ
            in more than numbers.
    """
    decoupled = _shared(optimizer, "decoupled_weight_decay")
    if type(optimizer) is SGD:
        kind = "sgd"
    elif type(optimizer) in {Adam, AdamW}:
        kind = "adamw" if decoupled else "adam"
    else:
        raise UnsupportedError(
            "optimizer",
            expected="torch.optim.SGD, Adam or AdamW",
            found=f"{type(optimizer).__module__}.{type(optimizer).__qualname__}",
            remedy="Train this stage with one of them.",
        )
    return Optimizer(
        kind=kind,
        nesterov=_shared(optimizer, "nesterov"),
        amsgrad=_shared(optimizer, "amsgrad"),
        maximize=_shared(optimizer, "maximize"),
    )


def group_hyperparameters(kind: str, group: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers that one group's next step uses, by column of the schedule."""
    if kind == "sgd":
        return {name: float(group[name]) for name in COLUMNS_OF[kind]}
    beta1, beta2 = group["betas"]
    values = {**group, "beta1": beta1, "beta2": beta2}
    return {name: float(values[name]) for name in COLUMNS_OF[kind]}


def copy_slots(
    optimizer: TorchOptimizer, names: Mapping[int, str], *, kind: str
) -> dict[str, Tensor]:
    """Return copies on the CPU of an optimizer's state as ``<slot>/<name>``.

    A parameter that the optimizer has not moved yet has no entries.

    Args:
        optimizer: The optimizer.
        names: Owner's name by ``id`` of the parameter.
        kind: The kind that :func:`describe_optimizer` gave.
    """
    slots: dict[str, Tensor] = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state.get(parameter)
            name = names.get(id(parameter))
            if not state or name is None:
                continue
            if kind == "sgd":
                buffer = state.get("momentum_buffer")
                if buffer is not None:
                    slots[f"momentum_buffer/{name}"] = _copy(buffer)
                    slots[f"initialised/{name}"] = torch.ones((), dtype=parameter.dtype)
            else:
                slots[f"exp_avg/{name}"] = _copy(state["exp_avg"])
                slots[f"exp_avg_sq/{name}"] = _copy(state["exp_avg_sq"])
                slots[f"count/{name}"] = torch.tensor(float(state["step"]), dtype=parameter.dtype)
    return slots


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()


def _shared(optimizer: TorchOptimizer, flag: str) -> bool:
    """Return an on-off option that every group must agree on."""
    values = {bool(group.get(flag, False)) for group in optimizer.param_groups}
    if len(values) > 1:
        raise UnsupportedError(
            f"optimizer.param_groups[*].{flag}",
            expected="the same in every group",
            found="both true and false",
            remedy="Give all groups of a stage the same option.",
        )
    return values == {True}
