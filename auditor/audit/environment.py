"""What a worker computes with: versions, device, threads."""

import platform
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
import torch

from auditor.plan.actions import ActionSpec, key_of
from auditor.report.execution import Environment, GroupExecution
from auditor.report.schema import Software
from auditor.stagelog.digest import Digest


def environment_of(device: str) -> Environment:
    """Return what a group that is executed now on a device runs on."""
    return Environment(
        stageaudit=version("stageaudit"),
        torch=torch.__version__,
        numpy=np.__version__,
        python=platform.python_version(),
        device=device,
        device_name=_name_of(torch.device(device)),
        threads=torch.get_num_threads(),
        deterministic=torch.are_deterministic_algorithms_enabled(),
    )


def software_of(device: str) -> Software:
    """Return what a report that is written now on a device says of its software."""
    found = environment_of(device)
    return Software(
        stageaudit=found.stageaudit, torch=found.torch, python=found.python, device=device
    )


def execution_of(
    specs: Sequence[ActionSpec], results: Sequence[Digest], *, device: str, resumed: int
) -> GroupExecution:
    """Return the record of a group that was just executed.

    Args:
        specs: Its actions, in the order of their lanes.
        results: Of each.
        device: Where it ran.
        resumed: How many of its lanes had steps behind them when it began.
    """
    return GroupExecution(
        environment=environment_of(device),
        keys=tuple(key_of(spec) for spec in specs),
        results=tuple(results),
        in_one_go=resumed == 0,
    )


def _name_of(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
