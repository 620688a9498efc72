"""Opens a device for a worker process: threads, determinism, a known computation, the library."""

import os

from auditor.errors import UnavailableError
from auditor.stagelog.blobs import BlobStore
from service.executors.base import Engine

_TOLERANCE = 1e-12


def open_engine(blobs: BlobStore, *, device: str, threads: int) -> Engine:
    """Return the library on one device, after checking that the device computes correctly.

    Raises:
        UnavailableError: If the device is not there or computes wrong numbers.
    """
    # Without it cuBLAS has no deterministic algorithms; read when CUDA starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch  # noqa: PLC0415 - only worker processes import torch

    from auditor.audit.execute import Worker  # noqa: PLC0415 - imports torch

    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=True)
    try:
        deviation = _known_deviation(device)
    except (RuntimeError, AssertionError) as error:  # how torch says that a device is not there
        raise _unavailable(device, type(error).__name__) from error
    if not deviation <= _TOLERANCE:
        raise _unavailable(device, f"a known computation off by {deviation:g}")
    return Worker(blobs, device=device)


def _known_deviation(device: str) -> float:
    """Return how far two lanes of one gradient step are from their closed form.

    The loss is ``|x|^2 / 2``, so a step of size 0.25 multiplies each lane by 0.75.
    """
    import torch  # noqa: PLC0415 - only worker processes import torch

    lanes = torch.arange(1.0, 7.0, dtype=torch.float64, device=device).reshape(2, 3)
    gradient = torch.func.vmap(torch.func.grad(lambda x: (x * x).sum() / 2))
    return float(torch.max(torch.abs(lanes - 0.25 * gradient(lanes) - 0.75 * lanes)))


def _unavailable(device: str, found: str) -> UnavailableError:
    return UnavailableError(
        f"device {device}",
        expected="a device that computes correctly",
        found=found,
        remedy="Check the driver with `stageaudit doctor`, or serve with --devices cpu.",
    )
