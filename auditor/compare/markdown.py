"""A comparison as Markdown, for a pull request."""

from auditor.compare.result import ComparedReport, ComparedValue, Comparison
from auditor.compare.words import change_words, interval_words, side_words, verdict_words
from auditor.report.labels import named
from auditor.report.plain_text import markdown_text

MAX_ROWS = 100
"""Rows that are listed; a pull request has no room for thousands."""


def comparison_markdown(found: Comparison) -> str:
    """Return the settings that differ, then values and effects side by side."""
    lines = [f"### {_name(found.a)} → {_name(found.b)}", ""]
    if not found.comparable:
        lines += ["**Not everything can be compared**: see the notes of the rows.", ""]
    if found.settings:
        lines += ["| differs | A | B |", "|---|---|---|"]
        lines += [_cells(s.what, s.a or "–", s.b or "–") for s in found.settings]
        lines.append("")
    lines += ["| query | A | B | B − A | notes |", "|---|---|---|---|---|"]
    lines += [_value(value) for value in found.values]
    lines += ["", *_rows(found)]
    lines.append(
        f"Reports `{found.a.id[:12]}` and `{found.b.id[:12]}`. Differences take the errors of both "
        "as independent. Effects are statements about computation, not about intent, negligence or "
        "legal responsibility."
    )
    return "\n".join(lines) + "\n"


def _rows(found: Comparison) -> list[str]:
    rows = found.rows
    lines = [
        "| query | intervention | A | B | B − A | intervals | verdict | notes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        _cells(
            row.query,
            named(row.intervention, found.names),
            side_words(row.a),
            side_words(row.b),
            change_words(row),
            interval_words(row),
            verdict_words(row),
            ", ".join(row.flags),
        )
        for row in rows[:MAX_ROWS]
    ]
    more = [f"{len(rows) - MAX_ROWS} more are in the JSON result.", ""]
    return [*lines, "", *(more if len(rows) > MAX_ROWS else [])]


def _value(value: ComparedValue) -> str:
    figures = (value.a, value.b)
    shown = ["–" if figure is None else f"{figure:.4g} {value.unit}" for figure in figures]
    change = "" if value.difference is None else f"{value.difference:+.4g}"
    return _cells(value.query, *shown, change, ", ".join(value.flags))


def _name(report: ComparedReport) -> str:
    return markdown_text(f"{report.log_name} ({report.estimator})")


def _cells(*texts: str) -> str:
    return "| " + " | ".join(markdown_text(text) for text in texts) + " |"
