"""The images of ``mnist_nesterov`` at learning rate .03, at the edge of stability.

Small differences grow: other batch orders end elsewhere.
"""

from benchmarks.fidelity.workload import Workload
from benchmarks.fidelity.workloads.mnist_nesterov import cnn, mnist_workload


def mnist_edge(seed: int, rerun: int | None = None) -> Workload:
    """Return the workload of a seed."""
    return mnist_workload("mnist_edge", seed, rerun, rate=0.03, build=cnn)
