"""What a forward pass depends on besides parameters and inputs: modes of modules, autocast."""

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ForwardFacts:
    """The model's modes when it computed the loss.

    Attributes:
        batch_norm: Whether batch norms used the batch's statistics or the running ones.
        running_norms: Names of the running means of batch norms that are frozen while others use
            the batch's statistics.
        dropout: Rates of the dropouts that were active.
        lower_precision: The dtype that autocast cast operations to; None without autocast.
        padding: Whether an embedding keeps its padding row, which the graph does not tell.
        obstacles: What no replay can follow, and what to do instead.
    """

    batch_norm: Literal["none", "batch", "running"] = "none"
    running_norms: tuple[str, ...] = ()
    dropout: tuple[float, ...] = ()
    lower_precision: str | None = None
    padding: bool = False
    obstacles: tuple[tuple[str, str], ...] = ()


def forward_facts(model: nn.Module) -> ForwardFacts:
    """Return the facts as they are now; call it while the loss is computed."""
    norms = {n: m for n, m in model.named_modules() if isinstance(m, _BatchNorm)}
    by_batch = any(norm.training or norm.running_mean is None for norm in norms.values())
    frozen = [n for n, m in norms.items() if not m.training and m.running_mean is not None]
    device = next((p.device.type for p in model.parameters()), "cpu")
    return ForwardFacts(
        batch_norm="none" if not norms else "batch" if by_batch else "running",
        running_norms=tuple(f"{name}.running_mean".lstrip(".") for name in frozen if by_batch),
        dropout=tuple(rate for module in model.modules() if (rate := _dropout_rate(module)) > 0),
        lower_precision=_lower_precision(device),
        padding=any(
            isinstance(module, nn.Embedding) and module.padding_idx is not None
            for module in model.modules()
        ),
        obstacles=_obstacles(model),
    )


def _obstacles(model: nn.Module) -> tuple[tuple[str, str], ...]:
    """Return the batch norms whose statistics a log does not tell."""
    found: list[tuple[str, str]] = []
    cumulative = [
        name
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm)
        and module.training
        and module.running_mean is not None
        and module.momentum is None
    ]
    if cumulative:
        remedy = "Give it a momentum such as 0.1: its average would depend on a counter of batches."
        found.append((f"batch norm {cumulative[0]!r} with momentum=None", remedy))
    return tuple(found)


def _lower_precision(device: str) -> str | None:
    if not torch.is_autocast_enabled(device):
        return None
    return str(torch.get_autocast_dtype(device)).removeprefix("torch.")


def _dropout_rate(module: nn.Module) -> float:
    if not module.training:
        return 0.0
    if isinstance(module, _DropoutNd):
        return float(module.p)
    if isinstance(module, nn.MultiheadAttention | nn.RNNBase):
        return float(module.dropout)
    return 0.0
