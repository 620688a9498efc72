"""The other audits of the log, so that nobody shows the one report that pleased."""

from auditor.page.facts import PageFacts
from auditor.report.history import AuditHistory
from auditor.report.schema import Report


def history_part(report: Report, _: PageFacts) -> AuditHistory | None:
    """Return the numbered audits; None for a local audit, which knows of no other."""
    return None if report.run is None else report.run.history
