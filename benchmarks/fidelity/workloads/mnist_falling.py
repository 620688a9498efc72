"""The images of ``mnist_nesterov`` with rates as pipelines have them: each stage's falls to zero.

Later stages begin at a part of the first one's rate. Batch order decides little in such a training:
the steps that would differ last are small.
"""

from dataclasses import replace

from benchmarks.fidelity.rates import risen_and_fallen
from benchmarks.fidelity.workload import Workload
from benchmarks.fidelity.workloads.mnist_nesterov import cnn, mnist_workload

RATE = 0.01
PARTS = {"pretrain": 1.0, "vendor": 0.6, "finetune": 0.6, "adapt": 0.3}
"""Where each stage's rate begins, as a part of RATE."""
RISE = 5


def mnist_falling(seed: int, rerun: int | None = None) -> Workload:
    """Return the workload of a seed."""
    workload = mnist_workload("mnist_falling", seed, rerun, rate=RATE, build=cnn)
    stages = tuple(
        replace(
            stage,
            learning_rates=risen_and_fallen(
                RATE * PARTS[stage.name], stage.steps, rise=RISE, fall=1.0
            ),
        )
        for stage in workload.stages
    )
    return replace(workload, stages=stages)
