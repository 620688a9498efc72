"""Workers in this process, set up like the ones that a report's actions were computed on."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, final

from auditor.report.execution import Environment
from auditor.stagelog.blobs import BlobStore
from service.executors.devices import threads_a_worker

if TYPE_CHECKING:
    from auditor.audit.execute import Worker
    from auditor.audit.outside import OutsideEvaluator

WORKSPACE: Final = "CUBLAS_WORKSPACE_CONFIG"


@final
class RecordedBench:
    """The :class:`auditor.audit.reproduce.Bench` of this process.

    Args:
        blobs: Holds the log and all data; receives results.
        device: Where everything is computed; None for the recorded device where it is here.
        threads: Of the CPU; None for the recorded number.
        outside: Runs the tools that the command line named.
    """

    def __init__(
        self,
        blobs: BlobStore,
        *,
        device: str | None,
        threads: int | None,
        outside: "OutsideEvaluator | None" = None,
    ) -> None:
        self._blobs, self._device, self._threads = blobs, device, threads
        self._outside = outside
        self._workers: dict[str, Worker] = {}

    def __call__(self, recorded: Environment | None) -> "Worker":
        """Return a worker, set up like the recorded environment as far as this machine allows."""
        import torch  # noqa: PLC0415 - only what computes imports torch

        from auditor.audit.execute import Worker  # noqa: PLC0415 - imports torch

        usual = threads_a_worker(None, workers=1) if recorded is None else recorded.threads
        torch.set_num_threads(self._threads or usual)
        deterministic = recorded is not None and recorded.deterministic
        torch.use_deterministic_algorithms(mode=deterministic)
        device = self._device or _here(recorded)
        if device not in self._workers:
            self._workers[device] = Worker(self._blobs, device=device, outside=self._outside)
        return self._workers[device]


@contextmanager
def recorded_bench(
    blobs: BlobStore,
    *,
    device: str | None,
    threads: int | None,
    outside: "OutsideEvaluator | None" = None,
) -> Iterator[RecordedBench]:
    """Yield a bench, and leave torch's settings and the environment of this process as they were.

    What CUDA has read of the environment when it started stays with it.

    Args:
        blobs: Holds the log and all data; receives results.
        device: Where everything is computed; None for the recorded device where it is here.
        threads: Of the CPU; None for the recorded number.
        outside: Runs the tools that the command line named.
    """
    # Without it cuBLAS has no deterministic algorithms; read when CUDA starts.
    given = os.environ.get(WORKSPACE)
    os.environ.setdefault(WORKSPACE, ":4096:8")
    import torch  # noqa: PLC0415 - only what computes imports torch

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    try:
        yield RecordedBench(blobs, device=device, threads=threads, outside=outside)
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(mode=before[1])
        if given is None:
            os.environ.pop(WORKSPACE, None)


def _here(recorded: Environment | None) -> str:
    """Return the recorded device if this machine has it, else the first that it has."""
    import torch  # noqa: PLC0415 - only what computes imports torch

    cuda = torch.cuda.is_available()
    if recorded is None:
        return "cuda:0" if cuda else "cpu"
    index = torch.device(recorded.device).index or 0
    missing = recorded.device != "cpu" and not (cuda and index < torch.cuda.device_count())
    if not missing:
        return recorded.device
    return "cuda:0" if cuda else "cpu"
