"""Gates: how much of a step is executed, on the whole state."""

import torch
from torch import Tensor

from auditor.dynamics.state import TrainingState


def gate(state: TrainingState, proposed: TrainingState, *, alpha: Tensor) -> TrainingState:
    r"""Return the state after a step of which the part ``alpha`` is executed.

    .. math:: \xi_{k+1} = \xi_k + \alpha_k (\Phi_k(\xi_k) - \xi_k)

    on parameters, optimizer tensors, Adam's count and buffers alike: alpha = 0 leaves the run as
    if the step did not exist, alpha = 1 is the recorded step, and both are exact in floating
    point. Gating the parameters alone answers another question, with another sign at times.

    Args:
        state: xi_k, one lane.
        proposed: Phi_k(xi_k).
        alpha: [] in [0, 1], dtype of the state.

    References:
        Checked in identities/test_gates.py, with the alternative as a negative control.
    """
    return state.replaced([
        torch.lerp(before, after, alpha)
        for before, after in zip(state.tensors, proposed.tensors, strict=True)
    ])  # fmt: skip
