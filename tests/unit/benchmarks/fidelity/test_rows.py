"""Figures of a row, the summary and the command line."""

import numpy as np
import pytest
from scipy.stats import pearsonr

from benchmarks.fidelity.__main__ import read_arguments
from benchmarks.fidelity.rows import FIELDS, covered, pearson, slope, spread
from benchmarks.fidelity.summary import summarise


def make_row(**other):
    return {
        **dict.fromkeys(FIELDS), "workload": "w", "estimator": "e", "pearson": 0.9, "ceiling": 0.9,
        "mean_effect": 1.0, "mean_truth": 1.0, "sd_rerun": 0.1, "sd_order": 0.1,
        "significant": True, "covered": True, "exact_by_construction": False, **other,
    }  # fmt: skip


def test_pearson_equals_scipy() -> None:
    one, other = np.random.default_rng(0).normal(size=(2, 20))

    assert pearson(one, other) == pytest.approx(pearsonr(one, other).statistic)
    assert pearson(one, np.ones(20)) is None


def test_slope_of_half_the_effect_is_half() -> None:
    truth = np.array([1.0, 2.0, 4.0])

    assert slope(truth / 2 + 7, truth) == pytest.approx(0.5)


def test_spread_is_that_of_means() -> None:
    assert spread(np.array([[0.0, 2.0], [2.0, 4.0]])) == pytest.approx(np.sqrt(2))


def test_covered_needs_an_interval() -> None:
    assert covered(1.0, low=0.5, high=1.5)
    assert not covered(2.0, low=0.5, high=1.5)
    assert covered(2.0, low=None, high=None) is None


def test_summary_leaves_exact_rows_out() -> None:
    rows = [make_row(), make_row(exact_by_construction=True, covered=False)]

    assert summarise(rows)[0]["covered"] == 1.0


@pytest.mark.parametrize(
    ("other", "figure", "expected"),
    [
        ({"mean_effect": -1.0}, "sign_errors", 1),
        ({"mean_effect": 1.2}, "clear_right", 0.0),
        ({"mean_effect": 1.09}, "clear_right", 1.0),
        ({"pearson": 0.87}, "goal", 0.0),
        ({"pearson": 0.88001}, "goal", 1.0),
        ({"sd_rerun": 2.0}, "clear", 0),
    ],
)
def test_summary_counts(other: dict, figure: str, expected: float) -> None:
    assert summarise([make_row(**other)])[0][figure] == expected


def test_unknown_workload_lists_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read_arguments(["--workload", "nothing"])

    assert ended.value.code == 2
    assert "digits_sgd" in capsys.readouterr().err
