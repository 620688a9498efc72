"""Every workload by name: one file each, one line here."""

from collections.abc import Callable
from typing import Final

from benchmarks.fidelity.workload import Workload
from benchmarks.fidelity.workloads.digits_sgd import digits_sgd
from benchmarks.fidelity.workloads.language_model import language_model
from benchmarks.fidelity.workloads.sentences import sentences

WORKLOADS: Final[dict[str, Callable[[int, int | None], Workload]]] = {
    "digits_sgd": digits_sgd,
    "language_model": language_model,
    "sentences": sentences,
}
"""(seed, rerun) -> workload."""
