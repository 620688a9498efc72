"""Stored audits as callers see them: look, list, cancel, delete. Blocking; called from threads."""

from collections.abc import Callable
from typing import final

from auditor.stagelog.digest import Digest
from service.records.jobs import AuditReader, AuditRecords, AuditRow, EventRow
from service.rounds import Rounds
from service.scheduler.loop import Event, Revoked


@final
class AuditOperations:
    """Audits of a tenant; thread-safe.

    Args:
        audits: Audits to change.
        reader: Audits to look at.
        rounds: Tells operators and waiting callers of audits that ended.
        report: The scheduler's ear.
    """

    def __init__(
        self,
        *,
        audits: AuditRecords,
        reader: AuditReader,
        rounds: Rounds,
        report: Callable[[Event], None],
    ) -> None:
        self._audits = audits
        self._reader = reader
        self._rounds = rounds
        self._report = report

    def get(self, tenant: str, audit: str) -> AuditRow:
        """Return one audit.

        Raises:
            ArtifactMissingError: If the tenant has no such audit.
        """
        return self._reader.get(tenant, audit)

    def page(
        self, tenant: str, *, limit: int, before: str | None, log: Digest | None
    ) -> tuple[AuditRow, ...]:
        """Return audits, newest first, older than ``before``."""
        return self._reader.page(tenant, limit=limit, before=before, log=log)

    def events(self, audit: str, after: int) -> tuple[EventRow, ...]:
        """Return what happened to the audit after the event of this sequence."""
        return self._reader.events(audit, after=after)

    def cancel(self, tenant: str, audit: str) -> None:
        """End an audit; one that is over stays as it is.

        Raises:
            ArtifactMissingError: If the tenant has no such audit.
        """
        self._reader.get(tenant, audit)
        ended = self._rounds.told(self._audits.end(audit, failure=None))
        if ended.revoked:
            self._report(Revoked(leases=ended.revoked))

    def delete(self, tenant: str, audit: str) -> None:
        """Take a finished audit off the lists; its report and its results stay.

        Raises:
            ArtifactMissingError: If the tenant has no such audit.
            PreconditionError: If it is not finished.
        """
        self._audits.delete(tenant, audit)
