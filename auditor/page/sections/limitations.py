"""What the figures do not say: first, because everything below is read with it."""

from auditor.page.facts import PageFacts
from auditor.report.schema import Limitation, Report


def limitations_of(report: Report, _: PageFacts) -> tuple[Limitation, ...]:
    """Return the report's limitations, whose sentences are its own."""
    return report.limitations
