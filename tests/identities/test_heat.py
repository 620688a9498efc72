"""Heat of sub-samples, enumerated: every draw of a small batch, so that averages are exact."""

from itertools import permutations, product

import numpy as np
import pytest
import torch
from torch import Tensor

from auditor.curvature.exact import ExactCurvature
from auditor.dynamics.adam import AdamForm
from auditor.dynamics.heat import NOISE, SECOND, with_noise, without_noise
from auditor.dynamics.state import TrainingState, with_slots
from auditor.dynamics.step_map import StepMap
from auditor.dynamics.stepping import step_map
from auditor.dynamics.trajectory import Lane, advance
from auditor.estimators.two_resolutions import Replays, read_two_resolutions
from auditor.model.objective import Minibatch
from tests.support.cases import adam, make_run, one_group, quiet
from tests.support.objectives import FEATURES
from tests.support.quadratic import SHAPES, linear_model, make_quadratic_run

WHOLE = 6
RATE, EPS, DECAY = 0.03, 1e-3, 0.1
FLOAT64 = {"rtol": 1e-12, "atol": 1e-14}
ADAMS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def make_batch(size: int, *, seed: int = 0) -> Minibatch:
    """Return a linear regression whose gradients are large beside their noise."""
    generator = torch.Generator().manual_seed(seed)
    return Minibatch(
        inputs=(1 + 0.3 * torch.randn(size, FEATURES, generator=generator, dtype=torch.float64),),
        target=10 + torch.randn(size, generator=generator, dtype=torch.float64),
        weights=torch.ones(size, dtype=torch.float64),
        denominator=torch.tensor(float(size), dtype=torch.float64),
    )


def taken(batch: Minibatch, rows: tuple[int, ...]) -> Minibatch:
    chosen = list(rows)
    return Minibatch(
        inputs=(batch.inputs[0][chosen],),
        target=batch.target[chosen],
        weights=batch.weights[chosen],
        denominator=torch.tensor(float(len(chosen)), dtype=torch.float64),
    )


def gradient(theta: Tensor, batch: Minibatch) -> Tensor:
    x = batch.inputs[0]
    return x.T @ (x @ theta - batch.target) / len(x)


def cooled(kind: str, *, fraction: float) -> tuple[StepMap, TrainingState]:
    """Return a step map that corrects the second moment, and a state to start from."""
    run = make_quadratic_run((one_group(adam("weight"), kind=kind),))
    phi = step_map(
        run,
        0,
        form=(AdamForm(decoupled=kind == "adamw", decay=True),),
        uniform=True,
        curvature=ExactCurvature(),
        fraction=fraction,
    )
    slots = ("count", "exp_avg", "exp_avg_sq")
    state = with_slots(run.transition(0)(run.boundary(0)), slots, layout=run.layout(0))
    return phi, with_noise(state)


def row(*, lr: float, beta2: float, decay: float = 0.0) -> Tensor:
    return torch.tensor([lr, 0.9, beta2, EPS, decay], dtype=torch.float64)


@pytest.mark.parametrize("kind", ADAMS)
def test_identical_halves_have_no_noise_and_step_as_torch(kind: str) -> None:
    phi, state = cooled(kind, fraction=0.25)
    theta = state.theta.clone().requires_grad_()
    optimizer = ADAMS[kind]([theta], lr=RATE, betas=(0.9, 0.95), eps=EPS, weight_decay=DECAY)

    for step in range(4):
        batch = taken(make_batch(3, seed=step), (0, 1, 2, 0, 1, 2))
        state = phi(state, batch, row(lr=RATE, beta2=0.95, decay=DECAY))
        theta.grad = gradient(theta.detach(), batch)
        optimizer.step()

        assert state.slots[NOISE].abs().max() < 1e-24
        torch.testing.assert_close(state.theta, theta.detach(), **FLOAT64)
        own = optimizer.state[theta]
        torch.testing.assert_close(state.slots[SECOND], own["exp_avg_sq"], **FLOAT64)
        torch.testing.assert_close(state.slots["exp_avg"], own["exp_avg"], **FLOAT64)


@pytest.mark.parametrize("kind", ADAMS)
def test_equal_examples_replay_alike_on_any_part_of_them(kind: str) -> None:
    spec = one_group(adam("weight", weight_decay=DECAY), kind=kind)
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(1, FEATURES, generator=generator, dtype=torch.float64)
    columns = {"input": one.repeat(24, 1), "label": torch.full((24,), 2.0, dtype=torch.float64)}
    run = make_run([spec, spec], shapes=SHAPES, buffers={}, model_of=linear_model, columns=columns)

    for stage in range(2):
        start = run.boundary(stage)
        lanes = [Lane(), Lane(fraction=0.5), Lane(fraction=0.75)]
        advanced = advance(run, stage, [start] * 3, lanes=lanes, on_block=quiet)
        whole, half, more = advanced.states

        assert set(half.slots) == set(whole.slots)
        for found in (half, more):
            torch.testing.assert_close(found.theta, whole.theta, **FLOAT64)
            torch.testing.assert_close(found.slots[SECOND], whole.slots[SECOND], **FLOAT64)


@pytest.mark.parametrize("used", [2, 3, 4, 5])
def test_corrected_second_moment_is_unbiased_over_all_draws(used: int) -> None:
    # With beta2 = 0 the second moment is the squared gradient and the noise that of one step.
    phi, state = cooled("adam", fraction=used / WHOLE)
    batch = make_batch(WHOLE)
    corrected, hot = [], []
    for rows in permutations(range(WHOLE), used):
        after = phi(state, taken(batch, rows), row(lr=0.0, beta2=0.0))
        assert (after.slots[NOISE] < after.slots[SECOND]).all()  # else the bound takes part
        hot.append(after.slots[SECOND])
        corrected.append(without_noise(after, fraction=used / WHOLE).slots[SECOND])

    whole = gradient(state.theta, batch).square()
    torch.testing.assert_close(torch.stack(corrected).mean(dim=0), whole, **FLOAT64)
    assert (torch.stack(hot).mean(dim=0) > whole * (1 + 1e-6)).all()


def test_averages_are_corrected_where_single_draws_are_mostly_noise() -> None:
    phi, state = cooled("adam", fraction=2 / 16)
    generator = torch.Generator().manual_seed(1)
    x = torch.ones(16, FEATURES, dtype=torch.float64)
    batch = Minibatch(
        inputs=(x,),
        target=x @ state.theta + 0.5 + torch.randn(16, generator=generator, dtype=torch.float64),
        weights=torch.ones(16, dtype=torch.float64),
        denominator=torch.tensor(16.0, dtype=torch.float64),
    )
    draw = np.random.default_rng(0)
    beyond = 0
    for _ in range(1500):
        own = taken(batch, tuple(draw.permutation(16)[:2].tolist()))
        alone = phi(with_noise(state), own, row(lr=0.0, beta2=0.0))
        beyond += int((alone.slots[NOISE] > alone.slots[SECOND]).any())
        state = phi(state, own, row(lr=0.0, beta2=0.999))

    assert beyond > 150  # single steps cannot be corrected
    # The average is over about 1,000 draws, v and n each about as variable as large: 3 % each.
    whole = gradient(state.theta, batch).square() * (1 - 0.999**1500)
    found = without_noise(state, fraction=2 / 16).slots[SECOND]
    torch.testing.assert_close(found, whole, rtol=0.15, atol=0.0)
    assert (state.slots[SECOND] > 1.3 * whole).all()


def enumerated_replays(
    targets: np.ndarray, *, used: int, steps: int, rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return theta after SGD on (theta - y)^2 / 2 for every draw, at ``used`` and half of it."""
    ends: dict[int, list[float]] = {used: [], used // 2: []}
    draws = list(permutations(range(len(targets)), used))
    for of_steps in product(draws, repeat=steps):
        for size, found in ends.items():
            theta = 1.0
            for rows in of_steps:
                theta -= rate * (theta - targets[list(rows[:size])].mean())
            found.append(theta)
    return np.array(ends[used]), np.array(ends[used // 2])


@pytest.mark.parametrize(("whole", "used", "steps"), [(4, 2, 2), (6, 4, 1), (5, 2, 2)])
def test_extrapolated_effect_is_that_of_the_whole_batch(whole: int, used: int, steps: int) -> None:
    # Queries theta^2 and theta^3: the noise of a sub-sample's mean biases both by its variance,
    # which is proportional to 1/b - 1/B; symmetric targets have no third moment.
    rate = 0.6
    factual_targets = np.linspace(-2.0, 2.0, whole) + 0.5
    counterfactual_targets = 3 * factual_targets - 1.0

    def query(theta: np.ndarray) -> np.ndarray:
        return np.stack([theta**2, theta**3], axis=-1)  # [K, 2]

    def exact(targets: np.ndarray) -> float:
        decay = (1 - rate) ** steps
        return float(decay * 1.0 + (1 - decay) * targets.mean())

    ends = [
        enumerated_replays(targets, used=used, steps=steps, rate=rate)
        for targets in (counterfactual_targets, factual_targets)
    ]
    fine, coarse = (
        Replays(counterfactual=query(ends[0][i]), factual=query(ends[1][i])) for i in range(2)
    )
    recorded = query(np.array([exact(factual_targets)]))[0]
    truth = recorded - query(np.array([exact(counterfactual_targets)]))[0]

    sample = read_two_resolutions(recorded, fine, coarse, fraction=used / whole)

    plain = (recorded - fine.counterfactual).mean()
    assert abs(plain - truth.mean()) > 0.1  # without the correction it is far off
    assert sample.effects.mean() == pytest.approx(truth.mean(), rel=1e-12)
