"""What a check of a log found."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedLog:
    """What a check found out about a log."""

    complete: bool  #: every segment was replayed
    consistent: bool
    causes: tuple[str, ...]
    verdict: str  #: canonical JSON of :class:`auditor.audit.log_verdict.LogVerdict`
