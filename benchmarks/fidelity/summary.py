"""What the rows of one workload and estimator say together, over all seeds."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from benchmarks.fidelity.rows import Row

QUANTILES: Final = (0.0, 0.1, 0.25, 0.5, 0.75)
CLOSE_TO_CEILING: Final = 0.02
RELATIVE_ERROR: Final = 0.1


def summarise(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return one summary for each workload and estimator, in the rows' order.

    Rows that are exact by construction are counted and left out of everything else. ``clear`` are
    those whose true mean exceeds the noise of reruns, whatever the estimator says of them; ``goal``
    is the part of the clear ones with r >= ceiling - .02 and |error of the mean| <= max(sd_rerun,
    10 %). Quantiles of r - ceiling are over the clear ones too: where nothing happened there is
    nothing to correlate.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["workload"], row["estimator"]), []).append(row)
    return [
        {"workload": workload, "estimator": estimator, **_figures(found)}
        for (workload, estimator), found in groups.items()
    ]


def mean_is_right(row: Row) -> bool:
    """Return whether the error of the mean is at most max(sd_rerun, 10 %)."""
    if row["mean_effect"] is None:
        return False
    allowed = max(row["sd_rerun"], RELATIVE_ERROR * abs(row["mean_truth"]))
    return bool(abs(row["mean_effect"] - row["mean_truth"]) <= allowed)


def reaches_ceiling(row: Row) -> bool:
    """Return whether r is at most .02 below that of another batch order."""
    if row["pearson"] is None or row["ceiling"] is None:
        return False
    return bool(row["pearson"] >= row["ceiling"] - CLOSE_TO_CEILING)


def has_wrong_sign(row: Row) -> bool:
    """Return whether estimate and truth are on different sides of zero."""
    return bool((row["mean_effect"] or 0.0) * row["mean_truth"] < 0)


def is_clear(row: Row) -> bool:
    """Return whether the true mean exceeds the noise of reruns."""
    return bool(abs(row["mean_truth"]) > row["sd_rerun"])


def _figures(rows: Sequence[Row]) -> dict[str, Any]:
    inexact = [row for row in rows if not row["exact_by_construction"]]
    clear = [row for row in inexact if is_clear(row)]
    significant = [row for row in inexact if row["significant"]]
    below = [
        row["pearson"] - row["ceiling"]
        for row in clear
        if row["pearson"] is not None and row["ceiling"] is not None
    ]
    return {
        "rows": len(rows),
        "exact": len(rows) - len(inexact),
        "covered": _part(row["covered"] for row in inexact if row["covered"] is not None),
        "significant": len(significant),
        "sign_errors": sum(
            (row["mean_effect"] or 0.0) * row["mean_truth"] < 0 for row in significant
        ),
        "significant_right": _part(map(mean_is_right, significant)),
        "clear": len(clear),
        "clear_right": _part(map(mean_is_right, clear)),
        "goal": _part(mean_is_right(row) and reaches_ceiling(row) for row in clear),
        "r_minus_ceiling": {str(q): float(np.quantile(below, q)) for q in QUANTILES}
        if below
        else None,
        "cost_examples": _mean(row["cost_examples"] for row in rows),
        "cost_wall": _mean(row["cost_wall"] for row in rows),
    }


def _part(holds: Iterable[bool]) -> float | None:
    found = list(holds)
    return sum(found) / len(found) if found else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
