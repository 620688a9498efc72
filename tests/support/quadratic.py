"""A run whose every step is an affine map, and that map written out as a matrix."""

from collections.abc import Sequence

import torch
from torch import Tensor

from auditor.dynamics.computations import Computations
from auditor.dynamics.run import Run
from tests.support.cases import StageSpec, make_run
from tests.support.dense import minibatch
from tests.support.objectives import FEATURES, LinearRegression

SHAPES = {"weight": (FEATURES,)}


def linear_model(run: Run, stage: int) -> Computations:
    def forward(theta: Tensor, _buffers: object, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (inputs[0] @ theta,)

    return Computations(
        objective=LinearRegression(run.layout(stage)), forward=forward, inputs=("input",)
    )


def make_quadratic_run(stages: Sequence[StageSpec], *, examples: int = 24, seed: int = 0) -> Run:
    """Return a linear regression trained in stages."""
    generator = torch.Generator().manual_seed(seed)
    columns = {
        "input": torch.randn(examples, FEATURES, generator=generator, dtype=torch.float64),
        "label": torch.randn(examples, generator=generator, dtype=torch.float64),
        "group": torch.arange(examples) // 6,
    }
    return make_run(
        stages, seed=seed, shapes=SHAPES, buffers={}, model_of=linear_model, columns=columns
    )


def affine_stage(run: Run, index: int, *, last: int | None = None) -> tuple[Tensor, Tensor]:
    """Return (M, c) of one stage on (theta, momentum buffer): x -> M x + c, [2P, 2P] and [2P].

    Mean loss 1/2 theta' A theta - b' theta + const with A = X'WX / D, b = X'Wy / D; a step is
    v' = m v + A theta - b + wd theta and theta' = theta - lr v', or with Nesterov
    theta' = theta - lr (A theta - b + wd theta + m v'). ``last``: only so many steps at the end.
    """
    stage, columns = run.log.stages[index], run.schedule(index).columns
    eye = torch.eye(FEATURES, dtype=torch.float64)
    whole, constant = torch.eye(2 * FEATURES, dtype=torch.float64), eye.new_zeros(2 * FEATURES)
    first = stage.first_step if last is None else stage.end_step - last
    for step in range(first, stage.end_step):
        lr, m, wd = (
            float(columns[name][step - stage.first_step, 0])
            for name in ("lr", "momentum", "weight_decay")
        )
        batch = minibatch(run, stage, index=index, step=step)
        x = batch.inputs[0]
        a = x.T @ (batch.weights[:, None] * x) / batch.denominator + wd * eye
        b = x.T @ (batch.weights * batch.target) / batch.denominator
        nesterov = stage.optimizer.nesterov
        on_theta = a * (1 + m) if nesterov else a
        on_velocity = (m * m if nesterov else m) * eye
        pulled = b * (1 + m) if nesterov else b
        matrix = torch.cat([
            torch.cat([eye - lr * on_theta, -lr * on_velocity], 1), torch.cat([a, m * eye], 1)
        ])  # fmt: skip
        shift = torch.cat([lr * pulled, -b])
        whole, constant = matrix @ whole, matrix @ constant + shift
    return whole, constant
