"""The images of ``mnist_nesterov`` at learning rate .002: training is nearly linear."""

from torch import nn

from benchmarks.fidelity.workload import Workload
from benchmarks.fidelity.workloads.mnist_nesterov import cnn, mnist_workload


def mnist_gentle(seed: int, rerun: int | None = None) -> Workload:
    """Return the workload of a seed."""
    return mnist_workload("mnist_gentle", seed, rerun, rate=0.002, build=_cnn)


def _cnn() -> nn.Module:
    """Initial values after He et al. (2015): torch's own stay on a plateau at this rate."""
    model = cnn()
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return model
