"""Stored audits as callers see them: look, list, cancel, delete. Blocking; called from threads."""

from collections.abc import Callable
from typing import final

from auditor.errors import ArtifactMissingError
from auditor.stagelog.digest import Digest
from service.records.jobs import AuditReader, AuditRecords, AuditRow, EventRow, JobKind
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

    def get(self, tenant: str, audit: str, *, kind: JobKind | None = None) -> AuditRow:
        """Return one audit, or also a check where the kind is not said.

        Raises:
            ArtifactMissingError: If the tenant has no such audit.
        """
        row = self._reader.get(tenant, audit)
        if kind is not None and row.kind != kind:
            raise ArtifactMissingError(
                f"{kind} {audit}",
                expected=f"the id of an operation of kind {kind}",
                found=f"one of kind {row.kind}",
                remedy="Ask google.longrunning.Operations about it.",
            )
        return row

    def page(
        self,
        tenant: str,
        *,
        limit: int,
        before: str | None,
        log: Digest | None,
        kind: JobKind | None = None,
    ) -> tuple[AuditRow, ...]:
        """Return audits and checks, or one kind, newest first, older than ``before``."""
        return self._reader.page(tenant, limit=limit, before=before, log=log, kind=kind)

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

    def delete(self, tenant: str, audit: str, *, kind: JobKind | None = None) -> None:
        """Take a finished audit off the lists; its report and its results stay.

        Raises:
            ArtifactMissingError: If the tenant has no such audit.
            PreconditionError: If it is not finished.
        """
        self.get(tenant, audit, kind=kind)
        self._audits.delete(tenant, audit)
