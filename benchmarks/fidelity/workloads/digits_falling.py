"""The digits of ``digits_sgd``, wrong labels included, at rates that fall to zero in each stage."""

from dataclasses import replace

from torch import nn
from torch.optim import SGD, Optimizer

from benchmarks.fidelity.rates import risen_and_fallen
from benchmarks.fidelity.workload import Stage, Workload
from benchmarks.fidelity.workloads.digits_sgd import digits_workload

RATE = 0.04
PARTS = {"pretrain": 1.0, "crowd": 1.0, "finetune": 0.5, "adapt": 0.5}
"""Where each stage's rate begins, as a part of RATE."""
RISE = 5


def digits_falling(seed: int, rerun: int | None = None) -> Workload:
    """Return the workload of a seed."""

    def make_optimizer(model: nn.Module, _stage: Stage) -> Optimizer:
        return SGD(model.parameters(), lr=RATE, momentum=0.9)

    workload = digits_workload(
        "digits_falling", seed, rerun, rate=RATE, make_optimizer=make_optimizer
    )
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
