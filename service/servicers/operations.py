"""google.longrunning.Operations over audits and checks of logs."""

from typing import Any, TypeAlias, final

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import empty_pb2
from typing_extensions import override

from auditor.errors import UnsupportedError
from service.auth import require_tenant
from service.convert_check import to_operation
from service.names import parse_member, parse_parent
from service.notices import Notices
from service.operations import AuditOperations
from service.paging import PageTokens
from service.servicers.audit_page import audit_page
from service.threads import Threads
from service.watching import Watching

COLLECTION = "operations"
WAIT_SECONDS_MAX = 60.0
WAIT_SECONDS_DEFAULT = 20.0
"""For calls that say neither how long to wait nor when they end."""

ANSWER_SECONDS = 0.5
"""What is left of a call's time for its answer."""

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


@final
class OperationsServicer(operations_pb2_grpc.OperationsServicer):  # type: ignore[misc]  # untyped
    """Decodes, calls, encodes.

    Args:
        operations: Stored audits and checks.
        watching: Waits for their end.
        notices: What is on the device.
        threads: Where blocking calls wait.
        tokens: Seals pages.
    """

    def __init__(
        self,
        *,
        operations: AuditOperations,
        watching: Watching,
        notices: Notices,
        threads: Threads,
        tokens: PageTokens,
    ) -> None:
        self._operations = operations
        self._watching = watching
        self._notices = notices
        self._threads = threads
        self._tokens = tokens

    @override
    async def GetOperation(
        self, request: operations_pb2.GetOperationRequest, context: Context
    ) -> operations_pb2.Operation:
        """Return one operation."""
        tenant, audit = self._parse(request.name)
        row = await self._threads.run(self._operations.get, tenant, audit)
        return to_operation(row, step=self._notices.step(audit))

    @override
    async def ListOperations(
        self, request: operations_pb2.ListOperationsRequest, context: Context
    ) -> operations_pb2.ListOperationsResponse:
        """Return a page of a tenant's operations, newest first."""
        parent = request.name.removesuffix(f"/{COLLECTION}")
        tenant = require_tenant(parse_parent(parent, where="name"), name=request.name)
        if request.filter:
            raise UnsupportedError(
                "filter",
                expected="no filter",
                found=request.filter,
                remedy="List all operations, or use AuditService.ListAudits.",
            )
        page, token = await audit_page(
            self._operations,
            threads=self._threads,
            tokens=self._tokens,
            asked=(request.page_size, request.page_token),
            tenant=tenant,
            of=(None, None),
            collection=COLLECTION,
        )
        return operations_pb2.ListOperationsResponse(
            operations=[to_operation(row) for row in page], next_page_token=token
        )

    @override
    async def WaitOperation(
        self, request: operations_pb2.WaitOperationRequest, context: Context
    ) -> operations_pb2.Operation:
        """Return the operation when it is done or the time is over, 60 s at most."""
        tenant, audit = self._parse(request.name)
        seconds = WAIT_SECONDS_DEFAULT
        left = context.time_remaining()
        if left is not None:
            seconds = min(left - ANSWER_SECONDS, WAIT_SECONDS_MAX)
        if request.HasField("timeout"):
            seconds = min(seconds, request.timeout.ToMilliseconds() / 1000)
        seconds = max(0.0, seconds)
        row = await self._watching.end(tenant, audit, seconds=seconds)
        return to_operation(row, step=self._notices.step(audit))

    @override
    async def CancelOperation(
        self, request: operations_pb2.CancelOperationRequest, context: Context
    ) -> empty_pb2.Empty:
        """End an audit; one that is over stays as it is."""
        tenant, audit = self._parse(request.name)
        await self._threads.run(self._operations.cancel, tenant, audit)
        return empty_pb2.Empty()

    @override
    async def DeleteOperation(
        self, request: operations_pb2.DeleteOperationRequest, context: Context
    ) -> empty_pb2.Empty:
        """Take a finished audit off the list."""
        tenant, audit = self._parse(request.name)
        await self._threads.run(self._operations.delete, tenant, audit)
        return empty_pb2.Empty()

    def _parse(self, name: str) -> tuple[str, str]:
        tenant, audit = parse_member(name, collection=COLLECTION)
        return require_tenant(tenant, name=name), audit
