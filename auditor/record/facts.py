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
        dropout: Rates of the dropouts that were active.
        lower_precision: The dtype that autocast cast operations to; None without autocast.
        padding: Whether an embedding keeps its padding row, which the graph does not tell.
        obstacles: What no replay can follow, and what to do instead.
    """

    batch_norm: Literal["none", "batch", "running"] = "none"
    dropout: tuple[float, ...] = ()
    lower_precision: str | None = None
    padding: bool = False
    obstacles: tuple[tuple[str, str], ...] = ()


def forward_facts(model: nn.Module) -> ForwardFacts:
    """Return the facts as they are now; call it while the loss is computed."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    by_batch = any(norm.training or norm.running_mean is None for norm in norms)
    device = next((p.device.type for p in model.parameters()), "cpu")
    return ForwardFacts(
        batch_norm="none" if not norms else "batch" if by_batch else "running",
        dropout=tuple(rate for module in model.modules() if (rate := _dropout_rate(module)) > 0),
        lower_precision=_lower_precision(device),
        padding=any(
            isinstance(module, nn.Embedding) and module.padding_idx is not None
            for module in model.modules()
        ),
        obstacles=_obstacles(model),
    )


def _obstacles(model: nn.Module) -> tuple[tuple[str, str], ...]:
    """Return the batch norms that differ from the one mode that a stage has."""
    norms = {n: m for n, m in model.named_modules() if isinstance(m, _BatchNorm)}
    tracking = {name: norm for name, norm in norms.items() if norm.running_mean is not None}
    training = [name for name, norm in tracking.items() if norm.training]
    found: list[tuple[str, str]] = []
    if training and len(training) < len(tracking):
        frozen = next(name for name, norm in tracking.items() if not norm.training)
        remedy = (
            "Train all of them, or freeze all of them with .eval(): in a graph they have one mode."
        )
        found.append((f"batch norm {frozen!r} frozen while {training[0]!r} trains", remedy))
    cumulative = [name for name in training if tracking[name].momentum is None]
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
