"""Flow: displacements carried through a stage as linearised gradient flow, without its steps."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from auditor.curvature.eigen import EigenCurvature
from auditor.dynamics.displacement import Twins, displaced_end, displacement
from auditor.dynamics.hyperparameters import SGD_COLUMNS
from auditor.dynamics.run import Run
from auditor.dynamics.segment_curvature import stage_ekfac
from auditor.dynamics.state import TrainingState
from auditor.errors import UnsupportedError
from auditor.plan.curvature import SampledCurvature


def flow(
    run: Run, stage_index: int, twins: Sequence[Twins], *, curvature: SampledCurvature
) -> list[TrainingState]:
    r"""Return the recorded end of a stage, displaced as gradient flow carries displacements on.

    .. math:: \theta_{b_t} + \exp(-h (H + \lambda I)) (d_\theta - c\, d_v), \qquad
        h = \sum_k \eta_k (1 - \delta_k) / (1 - m_k), \qquad c = \eta_{a_t} m / (1 - m)

    with learning rates eta, momentum m, dampening delta, weight decay lambda and H the stage's
    EK-FAC at its recorded end. A displaced velocity d_v coasts: c is what it adds up to (m c for
    Nesterov). The flow leaves no displacement of the optimizer or of buffers. Exact for a quadratic
    loss as eta goes to 0 with h fixed. Cost: the EK-FAC, once for a stage.

    Departures from the paper: (1) H is that of the stage's end, not an average over checkpoints;
    (2) the displacement of a whole stage is carried, not that of single examples.

    Args:
        run: The recorded run.
        stage_index: The stage, from 0; trained by SGD.
        twins: Counterfactual and factual states at the boundary before the stage.
        curvature: Which examples H is computed from.

    Returns:
        One state for each pair.

    Raises:
        UnsupportedError: If the stage's optimizer is not SGD.

    References:
        Bae et al. (2024), arXiv 2405.12186, section 3; checked in identities/test_flow.py against
        many small steps on a quadratic loss.
    """
    stage = run.log.stages[stage_index]
    if stage.optimizer.kind != "sgd":
        raise UnsupportedError(
            f"stages[{stage.name}].optimizer.kind",
            expected="sgd, whose steps follow a gradient flow",
            found=stage.optimizer.kind,
            remedy="Use checkpoint_jump with curvature exact, ggn or ekfac.",
        )
    moved = [displacement(run, stage_index, start=s, origin=o) for s, o in twins]
    if not stage.steps:
        return [displaced_end(run, stage_index, displacement=one) for one in moved]
    eigen = stage_ekfac(run, stage_index, examples=curvature.examples, seed=curvature.seed).eigen
    rates = _Rates(run, stage_index, eigen=eigen)
    results = []
    for one in moved:
        start = one.theta
        if "momentum_buffer" in one.slots:
            start = start - rates.coast * one.slots["momentum_buffer"]
        theta = eigen.spectral(start, rates.decay)
        zero = [torch.zeros_like(tensor) for tensor in one.tensors[1:]]
        results.append(displaced_end(run, stage_index, displacement=one.replaced([theta, *zero])))
    return results


@final
class _Rates:
    """Horizon h, weight decay and coasting factor of every parameter, [P] each."""

    def __init__(self, run: Run, stage_index: int, *, eigen: EigenCurvature) -> None:
        stage = run.log.stages[stage_index]
        numbers = run.hyperparameters(stage_index).rows
        numbers = numbers.reshape(stage.steps, -1, len(SGD_COLUMNS))
        rate, momentum, dampening, decay = numbers.unbind(-1)  # [steps, G] each
        plain = torch.where(momentum == 0, 1.0, (1 - dampening) / (1 - momentum))
        horizon = (rate * plain).sum(0)  # [G]
        weight_decay = (rate * plain * decay).sum(0)
        coast = rate[0] * momentum[0] / (1 - momentum[0])
        if stage.optimizer.nesterov:
            coast = coast * momentum[0]
        self.coast = self._of_parameters(run, stage_index, coast)
        self._horizon = _of_blocks(eigen, self._of_parameters(run, stage_index, horizon))
        self._decay = _of_blocks(eigen, self._of_parameters(run, stage_index, weight_decay))

    def decay(self, eigenvalues: Tensor) -> Tensor:
        """Return exp(-h (H + lambda)) of each eigenvalue, [P]."""
        return torch.exp(-self._horizon * eigenvalues - self._decay)

    @staticmethod
    def _of_parameters(run: Run, stage_index: int, of_groups: Tensor) -> Tensor:
        """Return a group's number for each of its parameters and 0 for frozen ones, [P]."""
        spans = run.spans(stage_index)
        parts = [
            number.expand(span.layout.size)
            for number, span in zip(of_groups.unbind(0), spans, strict=False)
        ]
        return torch.cat([*parts, of_groups.new_zeros(spans[-1].layout.size)])


def _of_blocks(eigen: EigenCurvature, values: Tensor) -> Tensor:
    """Return [P] with each joined bias as its weight, whose eigenvectors mix the two."""
    named = eigen.layout.unflatten(values)
    for basis in eigen.bases:
        if basis.bias is not None:
            weight = named[basis.weight].reshape(-1)[0]
            named[basis.bias] = weight.expand(named[basis.bias].shape)
    return eigen.layout.flatten(named)
