"""When the cue was learned, as text: the timeline of a report with a bar for each window."""

from collections.abc import Sequence

from auditor.report.finer import TimelineWindow

WINDOWS = 24
"""Into how many windows the run's steps are merged."""
BAR = 30


def drawn(windows: Sequence[TimelineWindow]) -> list[str]:
    """Return lines with bars to the left and to the right of zero."""
    scale = max(abs(window.value) for window in windows) or 1.0
    lines = []
    for window in windows:
        length = round(BAR * abs(window.value) / scale)
        left = ("█" * length).rjust(BAR) if window.value < 0 else " " * BAR
        right = "█" * length if window.value >= 0 else ""
        steps = f"{window.first_step}-{window.end_step}"
        lines.append(f"  {window.stage:<11}{steps:>9} {window.value:+8.3f} {left}|{right}".rstrip())
    return lines
