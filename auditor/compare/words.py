"""The cells of a comparison, in the same words on a terminal, in Markdown and on a page."""

from auditor.compare.result import ComparedRow, Side


def side_words(side: Side | None) -> str:
    """Return an effect and its interval, or that the report does not have the row."""
    if side is None:
        return "not in this report"
    if side.value is None:
        return "not computed"
    if side.low is None or side.high is None:
        return f"{side.value:+.4g}"
    if side.low == side.high:
        return f"{side.value:+.4g} exact"
    return f"{side.value:+.4g} ({side.low:+.4g} to {side.high:+.4g})"


def change_words(row: ComparedRow) -> str:
    """Return the difference and its interval; nothing where there is none."""
    if row.difference is None:
        return ""
    if row.low is None or row.high is None or row.low == row.high:
        return f"{row.difference:+.4g}"
    return f"{row.difference:+.4g} ({row.low:+.4g} to {row.high:+.4g})"


def interval_words(row: ComparedRow) -> str:
    """Return whether the two intervals overlap; nothing without two."""
    if row.overlap is None:
        return ""
    return "overlap" if row.overlap else "apart"


def verdict_words(row: ComparedRow) -> str:
    """Return the verdict, or what it changed from and to."""
    sides = [side for side in (row.a, row.b) if side is not None]
    if row.verdict_changed:
        return " → ".join(side.verdict for side in sides)
    return sides[-1].verdict if sides else ""
