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
    """

    batch_norm: Literal["none", "batch", "running"] = "none"
    dropout: tuple[float, ...] = ()
    lower_precision: str | None = None


def forward_facts(model: nn.Module) -> ForwardFacts:
    """Return the facts as they are now; call it while the loss is computed."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    by_batch = any(norm.training or norm.running_mean is None for norm in norms)
    device = next((p.device.type for p in model.parameters()), "cpu")
    return ForwardFacts(
        batch_norm="none" if not norms else "batch" if by_batch else "running",
        dropout=tuple(rate for module in model.modules() if (rate := _dropout_rate(module)) > 0),
        lower_precision=_lower_precision(device),
    )


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
