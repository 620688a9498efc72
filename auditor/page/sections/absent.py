"""What was not computed, what figures are worth, and how chance among many was controlled."""

from dataclasses import dataclass

from auditor.page.facts import PageFacts
from auditor.page.figures import percent
from auditor.report.schema import Diagnosis, NotComputed, Report

LISTED = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Absent:
    """The section."""

    not_computed: tuple[NotComputed, ...]
    diagnoses: tuple[Diagnosis, ...]
    left_out: int
    multiplicity: str | None


def absent_of(report: Report, _: PageFacts) -> Absent | None:
    """Return what a reader may miss; None where there is nothing to say."""
    if not (report.not_computed or report.diagnoses or report.multiplicity):
        return None
    many = report.multiplicity
    return Absent(
        not_computed=report.not_computed[:LISTED],
        diagnoses=report.diagnoses[:LISTED],
        left_out=max(len(report.not_computed) - LISTED, 0) + max(len(report.diagnoses) - LISTED, 0),
        multiplicity=None
        if many is None
        else f"{many.discovered:,} of {many.tested:,} effects are discoveries at a false discovery "
        f"rate of {percent(many.q)} (Benjamini-Hochberg).",
    )
