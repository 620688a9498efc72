"""The digits of ``digits_sgd``, trained by AdamW."""

from torch import nn
from torch.optim import AdamW, Optimizer

from benchmarks.fidelity.workload import Stage, Workload
from benchmarks.fidelity.workloads.digits_sgd import digits_workload

RATE = 0.003


def digits_adamw(seed: int, rerun: int | None = None) -> Workload:
    """Return the workload of a seed."""

    def make_optimizer(model: nn.Module, _stage: Stage) -> Optimizer:
        return AdamW(model.parameters(), lr=RATE, weight_decay=0.01)

    return digits_workload("digits_adamw", seed, rerun, rate=RATE, make_optimizer=make_optimizer)
