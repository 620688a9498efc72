"""AdminService: how things stand, for whoever operates the service."""

from typing import Any, TypeAlias, final

import grpc
from typing_extensions import override

from service.auth import caller, sees_every_tenant
from service.convert_status import to_scheduler_status
from service.pb.v1 import admin_pb2
from service.pb.v1.admin_service_pb2_grpc import AdminServiceServicer
from service.scheduler.overview import Overview
from service.scheduler.picture import only_of

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


@final
class AdminServicer(AdminServiceServicer):
    """Answers from memory: nothing here waits for the scheduler or the database.

    Args:
        overview: The scheduler's facts.
    """

    def __init__(self, overview: Overview) -> None:
        self._overview = overview

    @override
    async def GetSchedulerStatus(
        self, request: admin_pb2.GetSchedulerStatusRequest, context: Context
    ) -> admin_pb2.SchedulerStatus:
        """Return what the scheduler has queued and runs, as far as the caller may see it."""
        picture = self._overview.picture()
        if not sees_every_tenant():
            picture = only_of(picture, caller().tenant)
        return to_scheduler_status(picture)
