"""Facts about where a run is recorded: the release, the device, the hardware."""

import platform
from importlib.metadata import PackageNotFoundError, version

import torch
from torch import nn


def own_version() -> str:
    """Return the release that records."""
    try:
        return version("stageaudit")
    except PackageNotFoundError:
        return "from source"


def device_of(model: nn.Module) -> torch.device:
    """Return where a model's parameters are."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def hardware_of(model: nn.Module) -> str:
    """Return the name of the hardware that a model is on."""
    device = device_of(model)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.machine()
