"""The gradient of a block: its mean, and the variance that its steps would have had."""

import pytest
import torch

from auditor.curvature.exact import ExactCurvature
from auditor.dynamics.block_gradient import CHUNKS, BlockGradient
from auditor.dynamics.state import TrainingState
from auditor.model.layout import ParameterLayout
from auditor.model.objective import Minibatch
from tests.support.objectives import FEATURES, LinearRegression

F64 = torch.float64
OBJECTIVE = LinearRegression(ParameterLayout(("weight",), ((FEATURES,),)))
B = 4


def make_batch(examples: int, *, seed: int = 0) -> Minibatch:
    generator = torch.Generator().manual_seed(seed)
    return Minibatch(
        inputs=(torch.randn(examples, FEATURES, generator=generator, dtype=F64),),
        target=torch.randn(examples, generator=generator, dtype=F64),
        weights=torch.rand(examples, generator=generator, dtype=F64) + 0.5,
        denominator=torch.ones((), dtype=F64),
    )


def state() -> TrainingState:
    return TrainingState(theta=torch.ones(FEATURES, dtype=F64), slots={}, buffers={})


def per_example(batch: Minibatch) -> torch.Tensor:
    """Return w_i times the gradient of example i by hand, [m, P]."""
    residual = batch.inputs[0] @ state().theta - batch.target
    return (batch.weights * residual)[:, None] * batch.inputs[0]


def block_gradient(*, divisor: float = B, noise: bool = True) -> BlockGradient:
    return BlockGradient(
        gradient_of=ExactCurvature().gradient_of(OBJECTIVE),
        step_examples=B,
        divisor=divisor,
        noise=noise,
    )


@pytest.mark.parametrize("examples", [5, 8, 21])
@pytest.mark.parametrize(("noise", "divisor"), [(True, B), (False, B), (True, 1.0), (False, 1.0)])
def test_gradient_is_the_mean_step_of_the_examples(
    examples: int, noise: bool, divisor: float
) -> None:
    batch = make_batch(examples)

    gradient, _, _ = block_gradient(divisor=divisor, noise=noise)(state(), {}, batch)

    truth = per_example(batch).mean(0) * (B / divisor)
    torch.testing.assert_close(gradient, truth, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("divisor", [B, 1.0])
def test_few_examples_have_the_variance_of_single_ones(divisor: float) -> None:
    batch = make_batch(CHUNKS - 1)

    _, noise, _ = block_gradient(divisor=divisor)(state(), {}, batch)

    each = per_example(batch)
    truth = each.var(0) * (B / divisor) ** 2 * (1 / B - 1 / len(each))
    torch.testing.assert_close(noise, truth, rtol=1e-12, atol=1e-14)


def test_variance_of_unequal_chunks_is_unbiased() -> None:
    # 19 examples in chunks of 3 and one of 1. Over random orders the expectation is the sample
    # variance; one estimate scatters by about sqrt(2 / 6), the mean of 600 by 2.4 %. Dividing by
    # the number of chunks instead is off by 14 %.
    batch, generator = make_batch(19), torch.Generator().manual_seed(1)
    total = torch.zeros(FEATURES, dtype=F64)
    for _ in range(600):
        order = torch.randperm(19, generator=generator)
        shuffled = Minibatch(
            inputs=(batch.inputs[0][order],),
            target=batch.target[order],
            weights=batch.weights[order],
            denominator=batch.denominator,
        )
        total += block_gradient()(state(), {}, shuffled)[1] / 600

    truth = per_example(batch).var(0) * (1 / B - 1 / 19)
    assert float(total.sum() / truth.sum()) == pytest.approx(1.0, abs=0.08)


def test_nothing_is_missing_where_it_is_not_wanted() -> None:
    _, noise, _ = block_gradient(noise=False)(state(), {}, make_batch(9))

    assert not noise.any()
