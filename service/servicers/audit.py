"""AuditService: audits in, news out."""

from collections.abc import AsyncIterator
from typing import Any, TypeAlias, final

import grpc
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from typing_extensions import override

from auditor.stagelog.digest import Digest
from service.auth import require_tenant
from service.convert import from_timestamp
from service.convert_audit import from_priority, to_audit, to_audit_operation, to_plan
from service.names import parse_member, parse_parent, parse_request_id
from service.notices import Notices
from service.operations import AuditOperations
from service.paging import PageTokens
from service.pb.v1 import audit_pb2
from service.pb.v1.audit_service_pb2_grpc import AuditServiceServicer
from service.scheduler.arrivals import Arrivals
from service.scheduler.overview import Overview
from service.servicers.audit_page import audit_page
from service.submission import Ask, Submission
from service.threads import Threads
from service.watching import Watching

COLLECTION = "audits"

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


@final
class AuditServicer(AuditServiceServicer):
    """Decodes, calls, encodes.

    Args:
        submission: The way in.
        arrivals: Counts the audits that are on their way in.
        operations: Stored audits.
        watching: Streams of events.
        notices: What is on the device.
        overview: Tells how long it will still take.
        threads: Where blocking calls wait.
        tokens: Seals pages.
    """

    def __init__(
        self,
        *,
        submission: Submission,
        arrivals: Arrivals,
        operations: AuditOperations,
        watching: Watching,
        notices: Notices,
        overview: Overview,
        threads: Threads,
        tokens: PageTokens,
    ) -> None:
        self._submission = submission
        self._arrivals = arrivals
        self._operations = operations
        self._watching = watching
        self._notices = notices
        self._overview = overview
        self._threads = threads
        self._tokens = tokens

    @override
    async def CreateAudit(
        self, request: audit_pb2.CreateAuditRequest, context: Context
    ) -> operations_pb2.Operation:
        """Store an audit and answer its operation."""
        ask = Ask(
            tenant=require_tenant(parse_parent(request.parent), name=request.parent),
            request_json=request.request_json,
            priority=from_priority(request.priority),
            deadline=(
                from_timestamp(request.deadline_time) if request.HasField("deadline_time") else None
            ),
            request_id=parse_request_id(request.request_id),
        )
        with self._arrivals.arriving():
            row = await self._threads.run(self._submission.create, ask)
        return to_audit_operation(row)

    @override
    async def PlanAudit(
        self, request: audit_pb2.PlanAuditRequest, context: Context
    ) -> audit_pb2.PlanAuditResponse:
        """Say what an audit would compute."""
        tenant = require_tenant(parse_parent(request.parent), name=request.parent)
        plan = await self._threads.run(self._submission.plan, tenant, request.request_json)
        return to_plan(plan)

    @override
    async def GetAudit(
        self, request: audit_pb2.GetAuditRequest, context: Context
    ) -> audit_pb2.Audit:
        """Return one audit."""
        tenant, audit = self._parse(request.name)
        row = await self._threads.run(self._operations.get, tenant, audit, kind="audit")
        return to_audit(row, step=self._notices.step(audit), left=self._overview.time_left(row))

    @override
    async def ListAudits(
        self, request: audit_pb2.ListAuditsRequest, context: Context
    ) -> audit_pb2.ListAuditsResponse:
        """Return a page of audits, newest first."""
        tenant = require_tenant(parse_parent(request.parent), name=request.parent)
        log: Digest | None = None
        if request.stage_log:
            owner, digest = parse_member(
                request.stage_log, collection="stageLogs", where="stage_log"
            )
            require_tenant(owner, name=request.stage_log)
            log = Digest(digest)
        page, token = await audit_page(
            self._operations,
            threads=self._threads,
            tokens=self._tokens,
            asked=(request.page_size, request.page_token),
            tenant=tenant,
            of=(log, "audit"),
            collection=COLLECTION,
        )
        return audit_pb2.ListAuditsResponse(
            audits=[to_audit(row) for row in page], next_page_token=token
        )

    @override
    async def WatchAudit(
        self, request: audit_pb2.WatchAuditRequest, context: Context
    ) -> AsyncIterator[audit_pb2.WatchAuditResponse]:
        """Send what happened and what happens, until the audit is over.

        Yields:
            Events in their order.
        """
        tenant, audit = self._parse(request.name)
        async for event in self._watching.events(tenant, audit, after=request.after_sequence):
            yield event

    @override
    async def DeleteAudit(
        self, request: audit_pb2.DeleteAuditRequest, context: Context
    ) -> empty_pb2.Empty:
        """Take a finished audit off the list."""
        tenant, audit = self._parse(request.name)
        await self._threads.run(self._operations.delete, tenant, audit, kind="audit")
        return empty_pb2.Empty()

    def _parse(self, name: str) -> tuple[str, str]:
        tenant, audit = parse_member(name, collection=COLLECTION)
        return require_tenant(tenant, name=name), audit
