"""Audits in SQL: stored with their first actions, planned further, ended."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import final

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from auditor.errors import InternalError, PreconditionError, ResourceError
from auditor.stagelog.digest import Digest
from service.failures import Failure
from service.records.base import RequestKey
from service.records.endings import end_audits
from service.records.engine import Database, Isolation
from service.records.front_end import ALONE, FrontEnd
from service.records.history import add_event, start_audits
from service.records.jobs import (
    AuditRow,
    Cancelled,
    NewAction,
    NewAudit,
    SignedReport,
    StoredPlan,
)
from service.records.plans import store_plan
from service.records.reading import audit_row
from service.records.requests import ensure_tenant, store_answer, stored_answer
from service.records.tables import audit, blob_ref, operation, report
from service.scheduler.states import LIVE_AUDITS, AuditState, sources_of

_RETRY_AFTER_SECONDS = 30.0


@final
class SqlAudits:
    """The :class:`service.records.jobs.AuditRecords` of a database.

    Args:
        database: Where the rows are.
        now: Seconds since 1970.
        front_end: Which one plans and signs with these records.
    """

    def __init__(
        self, database: Database, *, now: Callable[[], float], front_end: FrontEnd = ALONE
    ) -> None:
        self._database = database
        self._now = now
        self._front_end = front_end

    def earlier(self, tenant: str, request: RequestKey) -> AuditRow | None:
        """Return the audit that was stored under a request id, if there is one.

        Raises:
            RequestIdReusedError: If the request id was used for another request.
        """

        def work(connection: Connection) -> AuditRow | None:
            found = stored_answer(connection, tenant, request, now=self._now())
            return None if found is None else audit_row(connection, tenant, found)

        return self._database.read(work)

    def create(self, new: NewAudit, *, gone: Collection[Digest]) -> tuple[AuditRow, StoredPlan]:
        """Store an audit, its missing actions and its request id in one transaction.

        Returns:
            The audit, or the one stored under the same request id, and how its actions met what
            was there.

        Raises:
            RequestIdReusedError: If the request id was used for another request.
            ResourceError: If the tenant has too many live audits.
        """

        def work(connection: Connection) -> tuple[AuditRow, StoredPlan]:
            now = self._now()
            ensure_tenant(connection, new.tenant, now=now)
            earlier = stored_answer(connection, new.tenant, new.request, now=now)
            if earlier is not None:
                nothing = StoredPlan(new=(), joined=(), cached=(), settled=False)
                return audit_row(connection, new.tenant, earlier), nothing
            _admit(connection, new)
            _insert_audit(connection, new, now=now)
            plan = store_plan(
                connection,
                new.actions,
                tenant=new.tenant,
                audit=new.id,
                round_number=1,
                gone=gone,
                now=now,
            )
            store_answer(connection, new.tenant, new.request, answer=new.id, now=now)
            progress = add_event(connection, new.id, "planned", now=now, message=_planned(plan))
            if progress.running:
                start_audits(connection, [new.id], now=now)
            return audit_row(connection, new.tenant, new.id), plan

        return self._database.write("create_audit", work)

    def take(self, audit_id: str, *, seconds: float) -> bool:
        """Reserve a live audit for this front end to plan or sign, for so long at most.

        Returns:
            False if the audit is over or another front end has it.
        """

        def work(connection: Connection) -> bool:
            now = self._now()
            free = or_(
                audit.c.carrier.is_(None),
                audit.c.carrier == self._front_end.id,
                audit.c.carried_until < now,
            )
            taken = connection.execute(
                update(audit)
                .where(audit.c.id == audit_id, audit.c.state.in_(LIVE_AUDITS), free)
                .values(carrier=self._front_end.id, carried_until=now + seconds)
            )
            return bool(taken.rowcount == 1)

        return self._database.write("take_audit", work, isolation=Isolation.ROWS)

    def append(
        self,
        audit_id: str,
        actions: Sequence[NewAction],
        *,
        gone: Collection[Digest],
        after_round: int,
    ) -> StoredPlan:
        """Add a round of actions to a live audit and return how they met what was there.

        Nothing is added when the audit is not at round ``after_round`` any more: somebody else
        planned the next one.
        """

        def work(connection: Connection) -> StoredPlan:
            now = self._now()
            row = connection.execute(
                update(audit)
                .where(
                    audit.c.id == audit_id,
                    audit.c.state.in_(LIVE_AUDITS),
                    audit.c.round == after_round,
                )
                .values(round=after_round + 1, updated=now, carrier=None, carried_until=None)
                .returning(audit.c.tenant, audit.c.round)
            ).one_or_none()
            if row is None:
                return StoredPlan(new=(), joined=(), cached=(), settled=False)
            plan = store_plan(
                connection,
                actions,
                tenant=row.tenant,
                audit=audit_id,
                round_number=row.round,
                gone=gone,
                now=now,
            )
            add_event(connection, audit_id, "planned", now=now, message=_planned(plan))
            return plan

        return self._database.write("append_actions", work)

    def begin_signing(self, audit_id: str) -> bool:
        """Move an audit to SIGNING and say whether it is there (again, after a crash)."""

        def work(connection: Connection) -> bool:
            now = self._now()
            sources = sources_of(AuditState.SIGNING)
            moved = connection.execute(
                update(audit)
                .where(audit.c.id == audit_id, audit.c.state.in_(sources))
                .values(state=AuditState.SIGNING, updated=now)
            )
            if moved.rowcount == 1:
                add_event(connection, audit_id, "signing", now=now, message="signing the report")
                return True
            query = select(audit.c.state).where(audit.c.id == audit_id)
            return AuditState(connection.execute(query).scalar_one()) is AuditState.SIGNING

        return self._database.write("begin_signing", work)

    def finish(self, audit_id: str, signed: SignedReport) -> bool:
        """Store the report and move the audit to SUCCEEDED together.

        Returns:
            False if the audit was over before; then nothing is stored.
        """

        def work(connection: Connection) -> bool:
            now = self._now()
            row = connection.execute(
                update(audit)
                .where(audit.c.id == audit_id, audit.c.state == AuditState.SIGNING)
                .values(
                    state=AuditState.SUCCEEDED,
                    report_digest=signed.digest,
                    finished=now,
                    updated=now,
                )
                .returning(audit.c.tenant, audit.c.log_digest)
            ).one_or_none()
            if row is None:
                return False
            connection.execute(
                insert(report).values(
                    tenant=row.tenant,
                    digest=signed.digest,
                    bundle_digest=signed.bundle,
                    bundle_size_bytes=signed.bundle_size_bytes,
                    audit=audit_id,
                    log_digest=row.log_digest,
                    keyid=signed.keyid,
                    created=now,
                )
            )
            held = {signed.bundle: signed.bundle_size_bytes, **signed.attachments}
            add_blob_refs(connection, row.tenant, held, now=now)
            add_event(connection, audit_id, "succeeded", now=now, message="report signed")
            return True

        return self._database.write("finish_audit", work)

    def end(self, audit_id: str, *, failure: Failure | None) -> Cancelled:
        """Fail the audit, or cancel it when there is no failure, and return what that changed."""
        return self._database.write(
            "end_audit",
            lambda connection: end_audits(connection, [audit_id], failure=failure, now=self._now()),
        )

    def delete(self, tenant: str, audit_id: str) -> None:
        """Take a finished audit off the lists; its report and its results stay.

        Raises:
            ArtifactMissingError: If the tenant has no such audit.
            PreconditionError: If it is not finished.
        """

        def work(connection: Connection) -> None:
            row = audit_row(connection, tenant, audit_id)
            if row.state in LIVE_AUDITS:
                raise PreconditionError(
                    f"audit {audit_id}",
                    expected="an audit that is finished",
                    found=row.state.value,
                    remedy="Cancel it first, or wait for its end.",
                )
            connection.execute(delete(operation).where(operation.c.id == audit_id))

        self._database.write("delete_audit", work)


def add_blob_refs(
    connection: Connection, tenant: str, sizes: Mapping[Digest, int], *, now: float
) -> None:
    """Note that the tenant holds these blobs."""
    for digest, size in sizes.items():
        known = connection.execute(
            update(blob_ref)
            .where(blob_ref.c.tenant == tenant, blob_ref.c.digest == digest)
            .values(last_seen=now)
        )
        if known.rowcount == 0:
            connection.execute(
                insert(blob_ref).values(
                    tenant=tenant, digest=digest, size=size, created=now, last_seen=now
                )
            )


def _admit(connection: Connection, new: NewAudit) -> None:
    query = select(func.count()).where(audit.c.tenant == new.tenant, audit.c.state.in_(LIVE_AUDITS))
    live = connection.execute(query).scalar_one()
    if live >= new.max_live_audits:
        raise ResourceError(
            "audits",
            expected=f"at most {new.max_live_audits} audits of a tenant under way",
            found=live,
            remedy="Wait until one of them is finished, or cancel one.",
            retry_after_seconds=_RETRY_AFTER_SECONDS,
        )


def _insert_audit(connection: Connection, new: NewAudit, *, now: float) -> None:
    if not new.actions:
        raise InternalError(
            f"audit {new.id}",
            expected="at least one action",
            found="an empty plan",
            remedy="Report this together with the audit request.",
        )
    connection.execute(
        insert(audit).values(
            id=new.id,
            tenant=new.tenant,
            request_digest=new.request_digest,
            log_digest=new.log_digest,
            model_digest=new.model_digest,
            priority=new.priority,
            state=AuditState.PLANNED,
            round=1,
            deadline=new.deadline,
            operator=new.operator,
            kind=new.kind,
            created=now,
            updated=now,
        )
    )
    connection.execute(
        insert(operation).values(id=new.id, tenant=new.tenant, kind=new.kind, created=now)
    )


def _planned(plan: StoredPlan) -> str:
    return f"{len(plan.new) + len(plan.joined)} actions to run, {len(plan.cached)} cached"
