"""Every metric, and the metric without each example, against plain Python."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.errors import QueryError
from auditor.model.metrics.auroc import auroc
from auditor.model.metrics.calibration import expected_calibration_error
from auditor.model.metrics.groups import (
    Groups,
    equalised_odds,
    gap,
    highest,
    lowest,
    over_groups,
)
from auditor.model.metrics.jackknife import LeaveOneOut, block_values
from auditor.model.metrics.perplexity import perplexity, perplexity_gradient
from tests.support.plain_metrics import (
    jackknife_variance,
    plain_auroc,
    plain_ece,
    plain_gap,
    plain_odds,
    plain_perplexity,
    rates,
    without_each,
)

LEVELS = st.integers(0, 4).map(lambda level: level / 4)  # few levels: many ties
GROUPS = Groups(of=torch.tensor([0, 1, 0, 1, 0, 1, 2, 2]), names=("a", "b", "c"), where="q.group")
VALUES = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0], dtype=torch.float64)


def floats(numbers: list[float]) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def assert_jackknife(found: LeaveOneOut, *, metric: float, without: np.ndarray) -> None:
    """Check metric, leave-one-out values, and mean and variance of the jackknife values."""
    assert found.metric.item() == pytest.approx(metric, abs=1e-12)
    np.testing.assert_allclose(found.without.numpy(), without, atol=1e-12)
    values = found.values.numpy()
    assert values.mean() == pytest.approx(metric, abs=1e-12)
    assert values.var(ddof=1) / len(values) == pytest.approx(
        jackknife_variance(without), rel=1e-9, abs=1e-15
    )


@settings(max_examples=60)
@given(
    above=st.lists(LEVELS, min_size=2, max_size=8),
    below=st.lists(LEVELS, min_size=2, max_size=8),
)
def test_auroc_counts_pairs_with_ties(above: list[float], below: list[float]) -> None:
    score, positive = above + below, [True] * len(above) + [False] * len(below)

    found = auroc(floats(score), torch.tensor(positive), where="q")

    assert_jackknife(
        found,
        metric=plain_auroc(score, positive),
        without=without_each(plain_auroc, score, positive),
    )


@settings(max_examples=60)
@given(
    rows=st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=12),
    bins=st.integers(1, 6),
)
def test_calibration_error_goes_bin_by_bin(rows: list[tuple[float, bool]], bins: int) -> None:
    confidence, correct = [c for c, _ in rows], [float(y) for _, y in rows]
    plain = partial(plain_ece, bins=bins)

    found = expected_calibration_error(floats(confidence), floats(correct), bins=bins)

    # The edges k / B may differ in the last bit between the two: keep away from them.
    on_edge = any(abs(c * bins - round(c * bins)) < 1e-6 and 0 < c < 1 for c in confidence)
    if not on_edge:
        assert_jackknife(
            found,
            metric=plain(confidence, correct),
            without=without_each(plain, confidence, correct),
        )


@pytest.mark.parametrize(("confidence", "bins"), [([0.5, 0.5], 2), ([0.0, 1.0], 3)])
def test_calibration_error_of_confidences_on_edges(confidence: list[float], bins: int) -> None:
    correct = [1.0, 0.0]

    found = expected_calibration_error(floats(confidence), floats(correct), bins=bins)

    assert found.metric.item() == pytest.approx(plain_ece(confidence, correct, bins=bins))


@settings(max_examples=60)
@given(
    groups=st.lists(st.lists(LEVELS, min_size=2, max_size=5), min_size=2, max_size=4),
    seed=st.integers(0, 99),
)
def test_group_metrics_compare_group_means(groups: list[list[float]], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(sum(map(len, groups)))
    values = np.concatenate(groups)[order]
    group = np.repeat(np.arange(len(groups)), [len(part) for part in groups])[order]
    given_groups = Groups(
        of=torch.tensor(group), names=[str(i) for i in range(len(groups))], where="q.group"
    )
    plains = {
        gap: plain_gap,
        lowest: lambda v, g: min(rates(v, g)),
        highest: lambda v, g: max(rates(v, g)),
    }

    for combine, plain in plains.items():
        assert_jackknife(
            over_groups(torch.tensor(values), given_groups, combine=combine),
            metric=plain(values, group),
            without=without_each(plain, values, group),
        )


@settings(max_examples=40)
@given(chosen=st.lists(st.booleans(), min_size=12, max_size=12), seed=st.integers(0, 99))
def test_equalised_odds_is_the_larger_of_two_gaps(chosen: list[bool], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(12)
    positive = np.tile([True, True, False, False], 3)[order]
    group = np.repeat([0, 1, 2], 4)[order]
    values = np.array(chosen, dtype=float)

    found = equalised_odds(
        torch.tensor(values),
        torch.tensor(positive),
        Groups(of=torch.tensor(group), names=("a", "b", "c"), where="q.group"),
    )

    assert_jackknife(
        found,
        metric=plain_odds(values, positive, group),
        without=without_each(plain_odds, values, positive, group),
    )


@settings(max_examples=40)
@given(
    rows=st.lists(st.tuples(st.floats(0, 20), st.integers(1, 9)), min_size=2, max_size=9),
)
def test_perplexity_is_over_tokens(rows: list[tuple[float, int]]) -> None:
    surprise, tokens = [s for s, _ in rows], [float(t) for _, t in rows]

    found = perplexity(floats(surprise), floats(tokens))

    metric = plain_perplexity(surprise, tokens)
    without = without_each(plain_perplexity, surprise, tokens)
    assert found.metric.item() == pytest.approx(metric)
    np.testing.assert_allclose(found.without.numpy(), without, rtol=1e-9)
    assert found.values.mean().item() == pytest.approx(metric, rel=1e-9)


def test_perplexity_gradient_is_autograds() -> None:
    surprise = torch.tensor([3.0, 1.0, 7.0], dtype=torch.float64)
    tokens = torch.tensor([2.0, 1.0, 4.0], dtype=torch.float64)

    expected = torch.func.grad(lambda s: perplexity(s, tokens).metric)(surprise)

    torch.testing.assert_close(perplexity_gradient(surprise, tokens), expected)


def test_jackknife_values_of_a_mean_are_the_numbers() -> None:
    numbers = torch.randn(9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    without = (numbers.sum() - numbers) / 8

    found = LeaveOneOut(metric=numbers.mean(), without=without)

    torch.testing.assert_close(found.values, numbers)


def test_block_values_have_the_variance_of_the_block_jackknife() -> None:
    numbers = torch.randn(12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    block = torch.arange(12) % 4
    without = torch.stack([numbers[block != index].mean() for index in range(4)])

    values = block_values(numbers.mean(), without, block=block)

    assert values.mean().item() == pytest.approx(numbers.mean().item())
    population = (values - values.mean()).square().sum().item() / (12 * 12)
    means = torch.stack([numbers[block == index].mean() for index in range(4)])
    # Delete-a-block variance of a mean is that of the block means; N and N - 1 differ by 4 blocks.
    assert population * 4 / 3 == pytest.approx(means.var(correction=1).item() / 4)


@pytest.mark.parametrize("positive", [[True] * 4, [False] * 4, [True, False, False, False]])
def test_auroc_needs_two_of_both_classes(positive: list[bool]) -> None:
    score = torch.arange(4).double()

    with pytest.raises(QueryError, match=r"at least two (positive|negative) examples"):
        auroc(score, torch.tensor(positive), where="query 'q'")


def test_constant_scores_have_an_area_of_one_half() -> None:
    found = auroc(torch.ones(6).double(), torch.arange(6) < 3, where="q")

    assert found.metric.item() == 0.5
    assert found.values.tolist() == [0.5] * 6


def test_a_group_that_is_empty_or_alone_is_named() -> None:
    empty = Groups(of=GROUPS.of, names=("a", "b", "c", "d"), where="q.group 'race'")
    small = Groups(of=GROUPS.of.clamp(max=1), names=("a",), where="q.group 'race'")
    few = Groups(of=torch.tensor([0, 1, 0, 1, 0, 1, 1, 2]), names=("a", "b", "c"), where="q.group")

    with pytest.raises(QueryError, match=r"'race'\[d\]: .* found 0 in group d"):
        over_groups(VALUES, empty, combine=gap)
    with pytest.raises(QueryError, match="at least two groups to compare, found one: a"):
        over_groups(VALUES, small, combine=gap)
    with pytest.raises(QueryError, match="found 1 in group c"):
        over_groups(VALUES, few, combine=gap)
    with pytest.raises(QueryError, match=r"two positive examples .* found 0 in group c"):
        equalised_odds(VALUES, GROUPS.of < 2, GROUPS)
