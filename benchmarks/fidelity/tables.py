"""The rows and summaries as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.fidelity.rows import FIELDS, Row


def summary_table(summaries: Sequence[Mapping[str, Any]]) -> str:
    """Return one line for each workload and estimator."""
    header = (
        "workload", "estimator", "rows (exact)", "covered", "significant (wrong sign)",
        "significant within max(sd_rerun, 10 %)", "goal (of clear rows)",
        "r − ceiling: min, median", "examples", "wall",
    )  # fmt: skip
    return _table(
        header,
        (
            (
                one["workload"],
                f"`{one['estimator']}`",
                f"{one['rows']} ({one['exact']})",
                _percent(one["covered"]),
                f"{one['significant']} ({one['sign_errors']})",
                _percent(one["significant_right"]),
                f"{_percent(one['goal'])} ({one['clear']})",
                "–"
                if one["r_minus_ceiling"] is None
                else f"{one['r_minus_ceiling']['0.0']:+.2f}, {one['r_minus_ceiling']['0.5']:+.2f}",
                _number(one["cost_examples"]),
                _number(one["cost_wall"]),
            )
            for one in summaries
        ),
    )


def published_table(
    summaries: Sequence[Mapping[str, Any]],
    accepted: Mapping[tuple[str, str], Mapping[str, int]],
    *,
    seeds: Mapping[str, Sequence[int]],
) -> str:
    """Return the table of RESULTS.md: one line for each workload and estimator.

    Args:
        summaries: Of the rows of all seeds.
        accepted: What ``auto`` accepted, by workload and estimator.
        seeds: Those that were judged, by workload.
    """
    header = (
        "workload (seeds)", "estimator", "rows (exact)", "covered", "called an effect (wrong sign)",
        "accepted (beyond)", "goal, of clear rows", "r − ceiling, median", "examples",
    )  # fmt: skip
    return _table(
        header,
        (
            (
                f"{one['workload']} ({', '.join(map(str, seeds[one['workload']]))})",
                f"`{one['estimator']}`",
                f"{one['rows']} ({one['exact']})",
                _percent(one["covered"]),
                "–" if one["covered"] is None else f"{one['significant']} ({one['sign_errors']})",
                _accepted(accepted.get((one["workload"], one["estimator"]))),
                f"{_percent(one['goal'])} ({one['clear']})",
                "–" if one["r_minus_ceiling"] is None else f"{one['r_minus_ceiling']['0.5']:+.2f}",
                _number(one["cost_examples"]),
            )
            for one in summaries
        ),
    )


def _accepted(counts: Mapping[str, int] | None) -> str:
    return f"{counts['accepted']} ({counts['beyond']})" if counts and counts["accepted"] else "–"


def row_table(rows: Sequence[Row]) -> str:
    """Return one line for each row, with every field."""
    return _table(FIELDS, ([_cell(row[name]) for name in FIELDS] for row in rows))


def _table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rule = ["---"] * len(header)
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *lines)) + "\n"


def _cell(value: object) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case float():
            return _number(value)
        case _:
            return str(value)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"
