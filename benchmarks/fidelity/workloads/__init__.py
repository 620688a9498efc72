"""Every workload by name: one file each, one line here."""

from collections.abc import Callable
from typing import Final

from benchmarks.fidelity.workload import Workload
from benchmarks.fidelity.workloads.digits_sgd import digits_sgd

WORKLOADS: Final[dict[str, Callable[[int, int | None], Workload]]] = {
    "digits_sgd": digits_sgd,
}
"""(seed, rerun) -> workload."""
