"""Learning rates that fall as well as rise."""

import torch
from torch import Tensor

from benchmarks.fidelity.workload import warmed_up


def risen_and_fallen(rate: float, steps: int, *, rise: int, fall: float) -> Tensor:
    """Return a learning rate that rises, stays, and falls linearly to nearly 0, [steps].

    Args:
        rate: The highest.
        steps: How many.
        rise: Steps at the start over which it rises.
        fall: Part of the steps, at the end, over which it falls.
    """
    left = steps - torch.arange(steps, dtype=torch.float64)
    return warmed_up(rate, steps, over=rise) * (left / (fall * steps)).clamp(max=1)
