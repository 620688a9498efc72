"""The scheduler at one moment, as values, and what of it a tenant may see."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

PRIORITIES = (0, 1, 2)


class DeviceState(StrEnum):
    """What a device is doing; without a worker, one is starting."""

    NO_WORKER = "no worker"
    IDLE = "idle"
    BUSY = "busy"


@dataclass(frozen=True, kw_only=True, slots=True)
class QueuePicture:
    """Actions of one priority, of all tenants."""

    priority: int
    ready: int
    blocked: int
    leased: int
    oldest_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupPicture:
    """A group that a worker holds; ``tenants`` counts the lanes of each."""

    kind: str
    device: str
    lanes: int
    tenants: Mapping[str, int]
    started: bool
    running_seconds: float
    done_steps: int
    total_steps: int
    seconds_left: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LanesPicture:
    """How many actions run together: now, and on average over the groups of the last minute."""

    running: int
    max_lanes: int
    recent_groups: int
    recent_mean: float


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryPicture:
    """Memory of a device in bytes.

    Attributes:
        budget: What the groups of its workers may use together.
        reserved: What those on it should need.
        used: What the last one needed at most.
    """

    budget: int | None = None
    reserved: int = 0
    used: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DevicePicture:
    """A device; ``busy_share`` is of its workers' time in the last minute, 0 to 1."""

    device: str
    state: DeviceState
    workers: int
    busy_share: float
    groups: int
    restarts: int
    memory: MemoryPicture = MemoryPicture()


@dataclass(frozen=True, kw_only=True, slots=True)
class TenantPicture:
    """A tenant; ``device_share`` is of what devices computed in the last minute, 0 to 1."""

    tenant: str
    weight: float
    running_lanes: int
    queued_actions: int
    device_share: float
    succeeded: int
    failed: int
    cancelled: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulerPicture:
    """All of it; times are seconds since 1970."""

    taken: float
    since: float
    all_tenants: bool
    queue: tuple[QueuePicture, ...]
    groups: tuple[GroupPicture, ...]
    lanes: LanesPicture
    devices: tuple[DevicePicture, ...]
    tenants: tuple[TenantPicture, ...]


def only_of(picture: SchedulerPicture, tenant: str) -> SchedulerPicture:
    """Return what a tenant may see: totals, groups that it is in, and its own row.

    Of a group that it shares it sees all lanes and no names but its own.
    """
    return SchedulerPicture(
        taken=picture.taken,
        since=picture.since,
        all_tenants=False,
        queue=picture.queue,
        groups=tuple(
            replace(group, tenants={tenant: group.tenants[tenant]})
            for group in picture.groups
            if tenant in group.tenants
        ),
        lanes=picture.lanes,
        devices=picture.devices,
        tenants=tuple(row for row in picture.tenants if row.tenant == tenant),
    )
