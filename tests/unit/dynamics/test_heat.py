"""Halves of a minibatch, and how much of Adam's second moment is a sub-sample's noise."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from auditor.dynamics.heat import NOISE, SECOND, excess, halves, with_noise, without_noise
from auditor.dynamics.state import TrainingState
from auditor.model.objective import Minibatch

positive = st.lists(st.floats(0, 1e3), min_size=3, max_size=3).map(
    lambda values: torch.tensor(values, dtype=torch.float64)
)


def batch_of(size: int) -> Minibatch:
    generator = torch.Generator().manual_seed(size)
    return Minibatch(
        inputs=(torch.randn(size, 2, generator=generator, dtype=torch.float64),),
        target=torch.arange(size),
        weights=torch.rand(size, generator=generator, dtype=torch.float64),
        denominator=torch.tensor(float(size), dtype=torch.float64),
    )


def state(second: torch.Tensor) -> TrainingState:
    slots = {SECOND: second, "exp_avg": second + 1}
    return TrainingState(theta=second + 2, slots=slots, buffers={})


@given(st.integers(2, 9))
def test_halves_hold_every_example_once_and_their_means_make_the_whole_mean(size: int) -> None:
    batch = batch_of(size)

    first, second, part = halves(batch)

    assert len(first.target) == size // 2
    assert torch.equal(torch.cat([first.target, second.target]), batch.target)
    assert torch.equal(torch.cat([first.inputs[0], second.inputs[0]]), batch.inputs[0])
    means = [(own.weights * own.inputs[0][:, 0]).sum() / own.denominator for own in (first, second)]
    whole = (batch.weights * batch.inputs[0][:, 0]).sum() / batch.denominator
    torch.testing.assert_close(part * means[0] + (1 - part) * means[1], whole)


@given(second=positive, noise=positive, fraction=st.floats(0.01, 1.0))
def test_excess_leaves_the_second_moment_at_least_its_part(second, noise, fraction) -> None:
    removed = excess(second, noise, fraction=fraction)

    assert (removed >= 0).all()
    assert (second - removed >= fraction * second * (1 - 1e-12)).all()
    small = noise <= second
    torch.testing.assert_close(removed[small], (1 - fraction) * noise[small])


def test_nothing_is_too_much_on_the_whole_batch() -> None:
    ones = torch.ones(3, dtype=torch.float64)

    assert torch.equal(excess(ones, ones, fraction=1.0), torch.zeros_like(ones))


def test_noise_lives_within_a_stage() -> None:
    second = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)

    before = with_noise(state(second))
    noisy = TrainingState(
        theta=before.theta,
        slots={**before.slots, NOISE: torch.tensor([0.4, 8.0, 0.0], dtype=torch.float64)},
        buffers={},
    )
    after = without_noise(noisy, fraction=0.25)

    assert torch.equal(before.slots[NOISE], torch.zeros_like(second))
    assert set(after.slots) == {SECOND, "exp_avg"}
    torch.testing.assert_close(
        after.slots[SECOND], torch.tensor([1 - 0.75 * 0.4, 2 * 0.25, 4.0], dtype=torch.float64)
    )
    assert torch.equal(after.slots["exp_avg"], second + 1)
    assert torch.equal(after.theta, second + 2)
