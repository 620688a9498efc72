"""StageLogService: registers logs whose blobs were sent before."""

from typing import Any, TypeAlias, final

import grpc
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from typing_extensions import override

from auditor.edge.clock import Clock
from auditor.stagelog.digest import Digest, digest_of, parse_digest
from service.auth import require_tenant
from service.convert import to_stage_log
from service.convert_check import to_operation
from service.log_checks import CheckAsk, LogChecks
from service.names import parse_member, parse_parent, parse_request_id
from service.paging import PageTokens, cut_page, page_size
from service.pb.v1 import stage_log_pb2
from service.pb.v1.stage_log_service_pb2_grpc import StageLogServiceServicer
from service.records.base import CatalogueRecords, Position, RequestKey, StageLogRow
from service.sandbox import Sandbox
from service.servicers.held import require_held
from service.threads import Threads

COLLECTION = "stageLogs"

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


@final
class StageLogServicer(StageLogServiceServicer):
    """Decodes, checks in the sandbox, stores the row, encodes.

    Args:
        records: Rows of logs and blobs.
        sandbox: Opens the manifest and its blobs.
        threads: Where that waits.
        tokens: Seals pages.
        clock: Dates rows.
        checks: The way in for checks.
    """

    def __init__(
        self,
        *,
        records: CatalogueRecords,
        sandbox: Sandbox,
        threads: Threads,
        tokens: PageTokens,
        clock: Clock,
        checks: LogChecks,
    ) -> None:
        self._records = records
        self._sandbox = sandbox
        self._threads = threads
        self._tokens = tokens
        self._clock = clock
        self._checks = checks

    @override
    async def CreateStageLog(
        self, request: stage_log_pb2.CreateStageLogRequest, context: Context
    ) -> stage_log_pb2.StageLog:
        """Check a log's structure and register it."""
        tenant = require_tenant(parse_parent(request.parent), name=request.parent)
        digest = parse_digest(request.manifest_digest, where="manifest_digest")
        identity = parse_request_id(request.request_id)
        key = _request_key(identity, digest=digest)
        row = await self._threads.run(self._create, tenant, digest, key)
        return to_stage_log(tenant, row)

    @override
    async def GetStageLog(
        self, request: stage_log_pb2.GetStageLogRequest, context: Context
    ) -> stage_log_pb2.StageLog:
        """Return one log."""
        tenant, digest = _parse(request.name)
        row = await self._threads.run(self._records.stage_log, tenant, digest)
        return to_stage_log(tenant, row)

    @override
    async def ListStageLogs(
        self, request: stage_log_pb2.ListStageLogsRequest, context: Context
    ) -> stage_log_pb2.ListStageLogsResponse:
        """Return a page of logs, newest first."""
        tenant = require_tenant(parse_parent(request.parent), name=request.parent)
        size = page_size(request.page_size)
        scope = (COLLECTION, tenant)
        after = self._tokens.read(request.page_token, scope=scope)
        rows = await self._threads.run(
            self._records.stage_logs, tenant, after=after, limit=size + 1
        )
        page, more = cut_page(rows, size=size)
        last = Position(created=page[-1].created, digest=page[-1].digest) if more else None
        return stage_log_pb2.ListStageLogsResponse(
            stage_logs=[to_stage_log(tenant, row) for row in page],
            next_page_token=self._tokens.write(last, scope=scope) if last is not None else "",
        )

    @override
    async def DeleteStageLog(
        self, request: stage_log_pb2.DeleteStageLogRequest, context: Context
    ) -> empty_pb2.Empty:
        """Remove a log from the list."""
        tenant, digest = _parse(request.name)
        await self._threads.run(self._records.delete_stage_log, tenant, digest)
        return empty_pb2.Empty()

    @override
    async def CheckStageLog(
        self, request: stage_log_pb2.CheckStageLogRequest, context: Context
    ) -> operations_pb2.Operation:
        """Store a check of a log and answer its operation."""
        tenant, digest = _parse(request.name)
        ask = CheckAsk(
            tenant=tenant,
            log=digest,
            sample=request.sample if request.HasField("sample") else None,
            seed=request.seed,
            request_id=parse_request_id(request.request_id),
        )
        return to_operation(await self._threads.run(self._checks.create, ask))

    def _create(self, tenant: str, digest: Digest, key: RequestKey | None) -> StageLogRow:
        manifest = require_held(self._records, tenant, [digest], where="manifest_digest")
        with self._sandbox.child(mapped_bytes=sum(manifest.values())) as child:
            described = child.stage_log(digest)
        held = require_held(self._records, tenant, described.blobs, where="manifest")
        size = sum(held.values()) + manifest[digest]
        with self._sandbox.child(mapped_bytes=size) as child:
            child.stage_log_content(digest)
        row = StageLogRow(
            digest=digest,
            run=described.run,
            stages=described.stages,
            steps=described.steps,
            level=described.level,
            size_bytes=size,
            created=self._clock.now().timestamp(),
        )
        return self._records.add_stage_log(tenant, row, request=key)


def _parse(name: str) -> tuple[str, Digest]:
    tenant, digest = parse_member(name, collection=COLLECTION)
    return require_tenant(tenant, name=name), Digest(digest)


def _request_key(identity: str | None, *, digest: Digest) -> RequestKey | None:
    if identity is None:
        return None
    return RequestKey(id=identity, digest=digest_of({"method": "CreateStageLog", "digest": digest}))
