"""One row per workload, query, intervention, stage and estimator: the estimate beside the truth."""

from typing import Any, Final

import numpy as np
from scipy.stats import rankdata

from auditor.effects import Verdict
from benchmarks.fidelity.estimates import Estimate
from benchmarks.fidelity.truth import Effects, Floats

FIELDS: Final = (
    "workload", "query", "intervention", "stage", "estimator", "pearson", "spearman", "slope",
    "ceiling", "ceiling_mean", "mean_effect", "mean_truth", "z_error", "significant", "covered",
    "sd_order", "sd_rerun", "exact_by_construction", "cost_examples", "cost_wall", "seed",
)  # fmt: skip
"""Names of a row's figures, in the order of the tables."""

ROUNDING: Final = 1e-5
"""How far two float32 programs' means may be from each other and count as equal."""

Row = dict[str, Any]
"""A value for each of :data:`FIELDS`; None where there is none."""


def row_of(
    estimate: Estimate,
    truth: Effects,
    *,
    workload: str,
    seed: int,
    estimator: str,
    cost_examples: float | None,
    cost_wall: float | None,
) -> Row:
    """Return the row of one effect.

    ``ceiling`` is the mean r of single other orders with the recorded one, ``ceiling_mean`` the r
    of the mean over orders; ``z_error`` is the error of the mean in units of ``sd_order``, and None
    where no later stage has an order. ``covered`` and ``significant`` read the report: whether the
    true mean lies in its interval, and whether its verdict is an effect.

    Args:
        estimate: The report's row.
        truth: What training again says.
        workload: Name.
        seed: Of the workload.
        estimator: Name.
        cost_examples: Gradient-examples over those of retraining.
        cost_wall: Wall time over that of plain eager retraining.
    """
    effect, exact = estimate.effect, truth.exact
    mean_truth = float(exact.mean())
    sd_order = spread(truth.paired)
    values = estimate.per_example
    return {
        "workload": workload,
        "query": effect.query,
        "intervention": estimate.asked.name,
        "stage": estimate.asked.stage,
        "estimator": estimator,
        "pearson": None if values is None else pearson(values, exact),
        "spearman": None if values is None else pearson(rankdata(values), rankdata(exact)),
        "slope": None if values is None else slope(values, exact),
        "ceiling": _mean([pearson(single, exact) for single in truth.single]),
        "ceiling_mean": pearson(truth.single.mean(axis=0), exact),
        "mean_effect": effect.value,
        "mean_truth": mean_truth,
        "z_error": None
        if not sd_order or effect.value is None
        else (effect.value - mean_truth) / sd_order,
        "significant": effect.verdict is Verdict.EFFECT,
        "covered": covered(mean_truth, low=effect.low, high=effect.high),
        "sd_order": sd_order,
        "sd_rerun": spread(truth.rerun),
        "exact_by_construction": effect.exact_by_construction,
        "cost_examples": cost_examples,
        "cost_wall": cost_wall,
        "seed": seed,
    }


def pearson(one: Floats, other: Floats) -> float | None:
    """Return the correlation of two rows [N]; None where one of them is constant."""
    a, b = one - one.mean(), other - other.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else None


def slope(estimate: Floats, truth: Floats) -> float | None:
    """Return the least-squares slope of the estimate on the truth, both [N]; 1 is right.

    An estimate of the right order and half the size has 0.5.
    """
    centred = truth - truth.mean()
    size = float(centred @ centred)
    return float(centred @ (estimate - estimate.mean())) / size if size > 0 else None


def spread(effects: Floats) -> float:
    """Return the standard deviation over worlds of the mean effect, of [worlds, N]."""
    return float(effects.mean(axis=1).std(ddof=1))


def covered(truth: float, *, low: float | None, high: float | None) -> bool | None:
    """Return whether the interval holds the truth, but for rounding; None without an interval."""
    if low is None or high is None:
        return None
    rounding = ROUNDING * max(1.0, abs(truth))
    return low - rounding <= truth <= high + rounding


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
