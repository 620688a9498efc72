"""Where two interventions on one stage tell different stories."""

from dataclasses import dataclass

from auditor.page.facts import PageFacts
from auditor.report.schema import Disagreement, Report

LISTED = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class Disagreements:
    """The first of them, and how many the page leaves out."""

    rows: tuple[Disagreement, ...]
    left_out: int


def disagreements_of(report: Report, _: PageFacts) -> Disagreements | None:
    """Return the flagged rows; None where there is none."""
    if not report.disagreements:
        return None
    rows = report.disagreements[:LISTED]
    return Disagreements(rows=rows, left_out=len(report.disagreements) - len(rows))
