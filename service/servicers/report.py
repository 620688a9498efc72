"""ReportService: hands out signed reports."""

from collections.abc import Callable
from typing import Any, TypeAlias, final

import grpc
from typing_extensions import override

from auditor.edge.clock import Clock
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest
from service.auth import require_tenant
from service.convert import to_report, to_timestamp
from service.names import parse_member, parse_parent
from service.paging import PageTokens, cut_page, page_size
from service.pb.v1 import report_pb2
from service.pb.v1.report_service_pb2_grpc import ReportServiceServicer
from service.records.base import Position, ReportRecords, ReportRow
from service.report_links import LinkedReport, ReportLinks, link_seconds
from service.threads import Threads

COLLECTION = "reports"
INLINE_BYTES = 3 * 2**20

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


@final
class ReportServicer(ReportServiceServicer):
    """Decodes, reads, encodes.

    Args:
        records: Rows of reports.
        blobs: Where their bundles are.
        threads: Where reading waits.
        tokens: Seals pages.
        links: Makes links to pages of reports.
        pages_url: Returns where those pages are, once the service listens.
        clock: From which a link's time counts.
    """

    def __init__(
        self,
        *,
        records: ReportRecords,
        blobs: BlobStore,
        threads: Threads,
        tokens: PageTokens,
        links: ReportLinks,
        pages_url: Callable[[], str],
        clock: Clock,
    ) -> None:
        self._records = records
        self._blobs = blobs
        self._threads = threads
        self._tokens = tokens
        self._links = links
        self._pages_url = pages_url
        self._clock = clock

    @override
    async def GetReport(
        self, request: report_pb2.GetReportRequest, context: Context
    ) -> report_pb2.Report:
        """Return one report; a bundle that is too large for a message is named only."""
        tenant, digest = parse_member(request.name, collection=COLLECTION)
        require_tenant(tenant, name=request.name)
        row, bundle = await self._threads.run(self._read, tenant, Digest(digest))
        return to_report(tenant, row, bundle=bundle)

    @override
    async def CreateReportLink(
        self, request: report_pb2.CreateReportLinkRequest, context: Context
    ) -> report_pb2.ReportLink:
        """Return a link to the page of a report of the caller's tenant."""
        tenant, text = parse_member(request.name, collection=COLLECTION)
        require_tenant(tenant, name=request.name)
        report = LinkedReport(tenant=tenant, digest=Digest(text))
        seconds = link_seconds(request.validity_seconds)
        await self._threads.run(self._records.report, tenant, report.digest)
        expires = int(self._clock.now().timestamp()) + seconds
        return report_pb2.ReportLink(
            url=self._pages_url() + self._links.write(report, expires=expires),
            expire_time=to_timestamp(expires),
        )

    @override
    async def ListReports(
        self, request: report_pb2.ListReportsRequest, context: Context
    ) -> report_pb2.ListReportsResponse:
        """Return a page of reports, newest first."""
        tenant = require_tenant(parse_parent(request.parent), name=request.parent)
        size = page_size(request.page_size)
        log = self._log(request.stage_log, tenant=tenant)
        scope = (COLLECTION, tenant, log or "")
        after = self._tokens.read(request.page_token, scope=scope)
        rows = await self._threads.run(
            self._records.reports, tenant, log=log, after=after, limit=size + 1
        )
        page, more = cut_page(rows, size=size)
        last = Position(created=page[-1].created, digest=page[-1].digest) if more else None
        return report_pb2.ListReportsResponse(
            reports=[to_report(tenant, row) for row in page],
            next_page_token=self._tokens.write(last, scope=scope) if last is not None else "",
        )

    def _log(self, name: str, *, tenant: str) -> Digest | None:
        if not name:
            return None
        owner, digest = parse_member(name, collection="stageLogs", where="stage_log")
        require_tenant(owner, name=name)
        return Digest(digest)

    def _read(self, tenant: str, digest: Digest) -> tuple[ReportRow, bytes]:
        row = self._records.report(tenant, digest)
        if row.bundle_size_bytes > INLINE_BYTES:
            return row, b""
        return row, bytes(self._blobs.read(row.bundle_digest))
