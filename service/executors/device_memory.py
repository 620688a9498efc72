"""What a worker may use of its device's memory, and what its groups needed at most.

On CUDA both come from the allocator. On the CPU a group's need is how far the process grew: the
peak of its resident set, set back before the group, less what was resident then. An allocator that
keeps freed memory makes later groups seem smaller; the scheduler never corrects below a prediction.
"""

from pathlib import Path
from typing import Protocol, final

SHARE = 0.85
"""The part of free memory that groups may use."""

RESET_PEAK = "5"
"""Written to ``clear_refs``, sets the peak of the resident set back (proc(5))."""


class MemoryMeter(Protocol):
    """Measures one device."""

    def budget_bytes(self, *, workers: int) -> int | None:
        """Return what the groups of one of so many workers may use; None if it is not known."""

    def begin(self) -> None:
        """A group begins."""

    def peak_bytes(self) -> int | None:
        """Return what was needed at most since then; None if it is not known."""


def meter_of(device: str) -> MemoryMeter:
    """Return the meter of a device."""
    return CudaMemory(device) if device.startswith("cuda") else ProcessMemory()


@final
class ProcessMemory:
    """Memory of this process.

    Args:
        proc: Where the kernel tells about processes.
        cgroup: The control group, if there is one.
    """

    def __init__(
        self, *, proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")
    ) -> None:
        self._proc, self._cgroup = proc, cgroup
        self._before: int | None = None

    def budget_bytes(self, *, workers: int) -> int | None:
        """Return a worker's share of what is available, in the control group too."""
        free = [
            found
            for found in (_field(self._proc / "meminfo", "MemAvailable"), self._left_in_group())
            if found is not None
        ]
        return int(SHARE * min(free) / workers) if free else None

    def begin(self) -> None:
        """Set the peak back and note what is resident."""
        try:
            (self._proc / "self/clear_refs").write_text(RESET_PEAK)
        except OSError:  # a kernel without it, or one that does not allow it
            self._before = None
            return
        self._before = _field(self._proc / "self/status", "VmRSS")

    def peak_bytes(self) -> int | None:
        """Return how far the resident set grew at most."""
        peak = _field(self._proc / "self/status", "VmHWM")
        return None if peak is None or self._before is None else max(0, peak - self._before)

    def _left_in_group(self) -> int | None:
        limit, used = (_number(self._cgroup / name) for name in ("memory.max", "memory.current"))
        return None if limit is None or used is None else max(0, limit - used)


@final
class CudaMemory:
    """Memory of a CUDA device.

    Args:
        device: Such as ``cuda:0``.
    """

    def __init__(self, device: str) -> None:
        import torch  # noqa: PLC0415 - only worker processes import torch

        self._cuda, self._device = torch.cuda, device
        self._before = 0

    def budget_bytes(self, *, workers: int) -> int | None:
        """Return the part of the free memory that groups may use; the device is this worker's."""
        free, _ = self._cuda.mem_get_info(self._device)
        return int(SHARE * free)

    def begin(self) -> None:
        """Set the peak back and note what is allocated."""
        self._cuda.reset_peak_memory_stats(self._device)
        self._before = self._cuda.memory_allocated(self._device)

    def peak_bytes(self) -> int | None:
        """Return how much more than before was allocated at most."""
        return int(self._cuda.max_memory_allocated(self._device)) - self._before


def _field(path: Path, name: str) -> int | None:
    """Return a field in kB of one of the kernel's tables, in bytes."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    return None


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
