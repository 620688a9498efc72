"""The scheduler's picture as its message; pure."""

from service.convert import to_timestamp
from service.convert_audit import to_priority
from service.pb.v1 import admin_pb2
from service.scheduler.picture import (
    DeviceState,
    GroupPicture,
    LanesPicture,
    QueuePicture,
    SchedulerPicture,
    TenantPicture,
)

_STATES: dict[DeviceState, admin_pb2.DeviceState.ValueType] = {
    DeviceState.NO_WORKER: admin_pb2.DEVICE_STATE_NO_WORKER,
    DeviceState.IDLE: admin_pb2.DEVICE_STATE_IDLE,
    DeviceState.BUSY: admin_pb2.DEVICE_STATE_BUSY,
}


def to_scheduler_status(picture: SchedulerPicture) -> admin_pb2.SchedulerStatus:
    """Return the picture as its message."""
    return admin_pb2.SchedulerStatus(
        status_time=to_timestamp(picture.taken),
        start_time=to_timestamp(picture.since),
        all_tenants=picture.all_tenants,
        queue=[_queue(row) for row in picture.queue],
        groups=[_group(group) for group in picture.groups],
        lanes=_lanes(picture.lanes),
        devices=[
            admin_pb2.DeviceStatus(
                device=row.device,
                state=_STATES[row.state],
                workers=row.workers,
                busy_share=row.busy_share,
                groups=row.groups,
                restarts=row.restarts,
                memory_budget_bytes=row.memory.budget,
                memory_reserved_bytes=row.memory.reserved,
                memory_used_bytes=row.memory.used,
            )
            for row in picture.devices
        ],
        tenants=[_tenant(row) for row in picture.tenants],
    )


def _queue(row: QueuePicture) -> admin_pb2.QueueStatus:
    return admin_pb2.QueueStatus(
        priority=to_priority(row.priority),
        ready_actions=row.ready,
        blocked_actions=row.blocked,
        leased_actions=row.leased,
        oldest_ready_seconds=row.oldest_seconds,
    )


def _group(group: GroupPicture) -> admin_pb2.GroupStatus:
    return admin_pb2.GroupStatus(
        kind=group.kind,
        device=group.device,
        lanes=group.lanes,
        tenants=[
            admin_pb2.TenantLanes(tenant=tenant, lanes=lanes)
            for tenant, lanes in sorted(group.tenants.items())
        ],
        started=group.started,
        running_seconds=group.running_seconds,
        done_steps=group.done_steps,
        total_steps=group.total_steps,
        seconds_left=group.seconds_left,
    )


def _lanes(lanes: LanesPicture) -> admin_pb2.LaneStatus:
    return admin_pb2.LaneStatus(
        running_lanes=lanes.running,
        max_lanes=lanes.max_lanes,
        recent_groups=lanes.recent_groups,
        recent_mean_lanes=lanes.recent_mean,
    )


def _tenant(row: TenantPicture) -> admin_pb2.TenantStatus:
    return admin_pb2.TenantStatus(
        tenant=row.tenant,
        weight=row.weight,
        running_lanes=row.running_lanes,
        queued_actions=row.queued_actions,
        device_share=row.device_share,
        succeeded_audits=row.succeeded,
        failed_audits=row.failed,
        cancelled_audits=row.cancelled,
    )
