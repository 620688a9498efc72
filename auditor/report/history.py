"""Which other audits of its log a service has run: a report is one of them."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from auditor.stagelog.record import DigestField, Name, Record

Outcome = Literal["succeeded", "failed", "cancelled", "under way", "this one"]
LISTED = 100
"""Audits that are listed; the counts are of all."""


class LoggedAudit(Record):
    """One audit of the log; ``request`` and ``model`` are digests of what was asked."""

    number: Annotated[int, Field(ge=1)]
    id: Name
    created: str
    outcome: Outcome
    request: DigestField
    model: DigestField | None = None


class AuditHistory(Record):
    """All audits of one log that a tenant asked of a service, when this report was signed.

    They are numbered in the order in which they were asked for; deleted ones are among them.
    ``audits`` are the last :data:`LISTED`. ``number`` is this one's.
    """

    number: Annotated[int, Field(ge=1)]
    succeeded: Annotated[int, Field(ge=0)]
    failed: Annotated[int, Field(ge=0)]
    cancelled: Annotated[int, Field(ge=0)]
    under_way: Annotated[int, Field(ge=0)]
    audits: Annotated[tuple[LoggedAudit, ...], Field(max_length=LISTED)]
    statement: str


def history_of(outcomes: Sequence[Outcome], *, listed: Sequence[LoggedAudit]) -> AuditHistory:
    """Return the history of a log's audits.

    Args:
        outcomes: Of all, in the order of their numbers, this one's among them.
        listed: The last :data:`LISTED` of them, or all.
    """
    counts = {name: outcomes.count(name) for name in ("succeeded", "failed", "cancelled")}
    number = outcomes.index("this one") + 1
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    under_way = outcomes.count("under way")
    return AuditHistory(
        number=number,
        **counts,
        under_way=under_way,
        audits=tuple(listed),
        statement=f"Audit {number} of this log at this service. Of the others {told}, "
        f"{under_way} under way when this was signed; audits elsewhere are not known here.",
    )
