"""Which devices this machine has; the front end never imports torch to find out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import structlog

AUTO = "auto"
CPU = "cpu"

_COUNT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "import torch; print(torch.cuda.device_count())"
)
_PROBE_SECONDS = 120.0

_log = structlog.get_logger()


def resolve_devices(asked: tuple[str, ...], *, nodes: Path = Path("/dev")) -> tuple[str, ...]:
    """Return one entry a worker process; ``auto`` is every CUDA device, or the CPU without one.

    Args:
        asked: Devices as configured.
        nodes: Where the driver's device files are.
    """
    if AUTO not in asked:
        return asked
    count = _cuda_devices() if any(nodes.glob("nvidia[0-9]*")) else 0
    return tuple(f"cuda:{index}" for index in range(count)) or (CPU,)


def threads_a_worker(asked: int | None, *, workers: int) -> int:
    """Return the CPU threads of one worker: what was asked, or its share of the cores.

    One core is left to the front end: small matrices wait at the end of every operation for the
    slowest thread, so a core that is shared costs far more than it gives (measured: 4 times).
    """
    return asked or max(1, (len(os.sched_getaffinity(0)) - 1) // workers)


def _cuda_devices() -> int:
    """Ask torch in a process of its own."""
    try:
        answer = subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-P", "-c", _COUNT, json.dumps(sys.path)],
            capture_output=True,
            check=True,
            text=True,
            timeout=_PROBE_SECONDS,
        )
        return int(answer.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        _log.warning("no CUDA device can be used", reason=type(error).__name__)
        return 0
