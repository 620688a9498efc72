"""What the scheduler has queued and runs, for whoever looks: kept up by facts, read at any time.

The scheduler's thread tells it what happens and never waits for it; whoever looks neither asks the
scheduler, which may be planning or signing, nor the database.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

from auditor.edge.clock import Clock
from auditor.stagelog.digest import Digest
from service.records.jobs import AuditRow, QueueRow
from service.scheduler.assignments import Assignment
from service.scheduler.fair_share import DEFAULT_WEIGHT
from service.scheduler.group_seconds import GroupSeconds
from service.scheduler.last_minute import LastMinute
from service.scheduler.picture import (
    PRIORITIES,
    DevicePicture,
    DeviceState,
    GroupPicture,
    LanesPicture,
    MemoryPicture,
    QueuePicture,
    SchedulerPicture,
    TenantPicture,
)
from service.scheduler.states import LIVE_AUDITS, AuditState
from service.scheduler.time_left import (
    TimeLeft,
    WorkLeft,
    group_seconds_left,
    group_sizes,
    time_left,
)

REPORT_KIND = "report"
"""Kind of the action that no round of planning comes after."""

_GROUPS, _LANES = "groups", "lanes"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Worker:
    """Where a worker is, and the bytes that its groups may use."""

    device: str
    budget: int | None


@dataclass(kw_only=True, slots=True)
class _Held:
    """A group on its worker; ``started`` is None until it is on the device."""

    group: Assignment
    started: float | None = None
    reserved: int = 0  #: bytes that it should need
    done: int = 0
    total: int = 0


@final
class Overview:
    """The scheduler's facts in memory; thread-safe.

    Args:
        clock: Measures how long things take.
        max_lanes: Most lanes that a group can have.
        expected: How long groups take; learned elsewhere.
        devices: Those that are to have workers.
        weights: Of tenants; 1 for others.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        max_lanes: int,
        expected: GroupSeconds,
        devices: Iterable[str] = (),
        weights: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self._clock = clock
        self._max_lanes = max_lanes
        self._weights = dict(weights)
        self._since = clock.now().timestamp()
        self._epoch = clock.monotonic()
        self._lock = threading.Lock()
        self._restarts = Counter(dict.fromkeys(devices, 0))
        self._used: dict[str, int] = {}
        self._workers: dict[str, _Worker] = {}
        self._held: dict[int, _Held] = {}
        self._queue: tuple[QueueRow, ...] = ()
        self._queue_read = 0.0
        self._ended: Counter[tuple[str, str]] = Counter()
        self._expected = expected
        self._busy = LastMinute()
        self._served = LastMinute()
        self._recent = LastMinute()

    def worker_ready(self, worker: str, device: str, *, budget: int | None = None) -> None:
        """A worker takes groups, which may use so many bytes; None if it does not say."""
        with self._lock:
            self._workers[worker] = _Worker(device=device, budget=budget)
            self._restarts[device] += 0

    def worker_gone(self, worker: str) -> None:
        """A worker takes no more groups; those it held are told of one by one."""
        with self._lock:
            self._workers.pop(worker, None)

    def worker_restarts(self, device: str) -> None:
        """A worker process that ended is started again."""
        with self._lock:
            self._restarts[device] += 1

    def memory_used(self, device: str, used: int) -> None:
        """The last group of a device needed so many bytes at most."""
        with self._lock:
            self._used[device] = used

    def memory(self, device: str) -> MemoryPicture:
        """Return what is known of a device's memory."""
        with self._lock:
            return self._memory(device)

    @property
    def workers(self) -> int:
        """How many workers take groups."""
        with self._lock:
            return len(self._workers)

    def has_worker(self, device: str) -> bool:
        """Say whether a worker of a device takes groups."""
        with self._lock:
            return any(own.device == device for own in self._workers.values())

    def handed_out(self, group: Assignment) -> None:
        """A worker has a group."""
        with self._lock:
            self._held[group.id] = _Held(group=group)

    def started(self, group: Assignment, *, reserved: int) -> None:
        """A group is on its device and should need so many bytes."""
        with self._lock:
            if group.id in self._held:
                self._held[group.id].started = self._clock.monotonic()
                self._held[group.id].reserved = reserved

    def stepped(self, group: Assignment, *, done: int, total: int) -> None:
        """A group is so many steps far."""
        with self._lock:
            if group.id in self._held:
                self._held[group.id].done = done
                self._held[group.id].total = total

    def left(self, group: Assignment) -> None:
        """A group is no longer on its worker, with results or without."""
        with self._lock:
            held = self._held.pop(group.id, None)
            if held is not None and held.started is not None:
                now = self._clock.monotonic()
                _add_span(self._busy, self._served, held, now=now)
                self._recent.add(_GROUPS, 1, at=now)
                self._recent.add(_LANES, len(group.group.actions), at=now)

    def queued(self, rows: Iterable[QueueRow]) -> None:
        """What is wanted and not done."""
        with self._lock:
            self._queue = tuple(rows)
            self._queue_read = self._clock.now().timestamp()

    def ended(self, audit: AuditRow) -> None:
        """An audit or a check is over."""
        with self._lock:
            self._ended[audit.tenant, audit.state] += 1

    def picture(self) -> SchedulerPicture:
        """Return how things stand."""
        with self._lock:
            now = self._clock.monotonic()
            groups = tuple(self._group(held, now=now) for held in self._held.values())
            running = [group for group in groups if group.started]
            return SchedulerPicture(
                taken=self._clock.now().timestamp(),
                since=self._since,
                all_tenants=True,
                queue=tuple(_of_priority(self._queue, priority) for priority in PRIORITIES),
                groups=groups,
                lanes=self._lanes(running, now=now),
                devices=self._devices(groups, now=now),
                tenants=self._tenants(running, now=now),
            )

    def time_left(self, audit: AuditRow) -> TimeLeft | None:
        """Return how long an audit will still take, or None when that is not known."""
        if audit.state not in LIVE_AUDITS or audit.state is AuditState.SIGNING:
            return None
        with self._lock:
            if self._queue_read <= audit.created:
                return None  # it was not there when the queue was read
            return time_left(self._work_left(audit))

    def _work_left(self, audit: AuditRow) -> WorkLeft:
        now = self._clock.monotonic()
        mine = [row for row in self._queue if row.tenant == audit.tenant]
        waiting = self._waiting(audit, mine) if self._waits(audit) else ()
        return WorkLeft(
            waiting=waiting,
            held=tuple(
                self._seconds_left(held, now=now)
                for held in self._held.values()
                # What waits is behind every group that workers hold.
                if waiting or held.group.concerns(audit.id)
            ),
            workers=len(self._workers),
            share=self._share_of(audit.tenant),
            complete=any(
                row.kind == REPORT_KIND and row.deadline == audit.deadline for row in mine
            ),
        )

    def _waiting(self, audit: AuditRow, mine: Iterable[QueueRow]) -> tuple[float | None, ...]:
        """Return the seconds of the groups that run before an audit is over, as far as known."""
        lanes: Counter[tuple[str, Digest]] = Counter()
        for row in mine:
            if (-row.priority, row.deadline) <= (-audit.priority, audit.deadline):
                lanes[row.kind, row.group_key] += row.ready + row.blocked
        return tuple(
            self._expected.of(kind, key, lanes=size)
            for (kind, key), count in lanes.items()
            for size in group_sizes(count, max_lanes=self._max_lanes)
        )

    def _waits(self, audit: AuditRow) -> bool:
        """Say whether an audit has actions that no worker has yet."""
        held = sum(
            audit.id in action.audits
            for held in self._held.values()
            for action in held.group.actions
        )
        return audit.progress.done + held < audit.progress.actions

    def _share_of(self, tenant: str) -> float:
        """Return the part of the devices that a tenant is given while all go on asking."""
        asking = {row.tenant for row in self._queue if row.ready + row.leased} | {tenant}
        return self._weight(tenant) / sum(self._weight(other) for other in asking)

    def _weight(self, tenant: str) -> float:
        return self._weights.get(tenant, DEFAULT_WEIGHT)

    def _group(self, held: _Held, *, now: float) -> GroupPicture:
        actions = held.group.actions
        return GroupPicture(
            kind=held.group.kind,
            device=held.group.device,
            lanes=len(actions),
            tenants=Counter(action.tenant for action in actions),
            started=held.started is not None,
            running_seconds=0.0 if held.started is None else now - held.started,
            done_steps=held.done,
            total_steps=held.total,
            seconds_left=self._seconds_left(held, now=now),
        )

    def _seconds_left(self, held: _Held, *, now: float) -> float | None:
        return group_seconds_left(
            None if held.started is None else now - held.started,
            done=held.done,
            total=held.total,
            expected=self._expected.of(
                held.group.kind, held.group.key, lanes=len(held.group.group.actions)
            ),
        )

    def _lanes(self, running: Iterable[GroupPicture], *, now: float) -> LanesPicture:
        recent = self._recent.totals(now)
        groups = round(recent.get(_GROUPS, 0))
        return LanesPicture(
            running=sum(group.lanes for group in running),
            max_lanes=self._max_lanes,
            recent_groups=groups,
            recent_mean=recent.get(_LANES, 0) / groups if groups else 0.0,
        )

    def _devices(self, groups: Iterable[GroupPicture], *, now: float) -> tuple[DevicePicture, ...]:
        busy, _ = self._seconds(now)
        span = now - max(self._epoch, LastMinute.begin(now))
        rows = []
        for device in sorted(self._restarts):
            workers = sum(own.device == device for own in self._workers.values())
            own = [group for group in groups if group.device == device]
            capacity = span * max(1, workers)
            rows.append(
                DevicePicture(
                    device=device,
                    state=_state(workers, own),
                    workers=workers,
                    busy_share=min(1.0, busy.get(device, 0.0) / capacity) if span > 0 else 0.0,
                    groups=len(own),
                    restarts=self._restarts[device],
                    memory=self._memory(device),
                )
            )
        return tuple(rows)

    def _memory(self, device: str) -> MemoryPicture:
        workers = [own for own in self._workers.values() if own.device == device]
        budgets = [own.budget for own in workers if own.budget is not None]
        return MemoryPicture(
            budget=sum(budgets) if budgets else None,
            reserved=sum(own.reserved for own in self._held.values() if own.group.device == device),
            used=self._used.get(device),
        )

    def _tenants(self, running: Iterable[GroupPicture], *, now: float) -> tuple[TenantPicture, ...]:
        _, served = self._seconds(now)
        total = sum(served.values())
        lanes: Counter[str] = Counter()
        for group in running:
            lanes.update(group.tenants)
        queued: Counter[str] = Counter()
        for row in self._queue:
            queued[row.tenant] += row.ready + row.blocked
        known = {*self._weights, *lanes, *queued, *served, *(tenant for tenant, _ in self._ended)}
        return tuple(
            TenantPicture(
                tenant=tenant,
                weight=self._weight(tenant),
                running_lanes=lanes[tenant],
                queued_actions=queued[tenant],
                device_share=served.get(tenant, 0.0) / total if total else 0.0,
                succeeded=self._ended[tenant, AuditState.SUCCEEDED],
                failed=self._ended[tenant, AuditState.FAILED],
                cancelled=self._ended[tenant, AuditState.CANCELLED],
            )
            for tenant in sorted(known)
        )

    def _seconds(self, now: float) -> tuple[dict[str, float], dict[str, float]]:
        """Return device seconds of the last minute by device and by tenant, up to now."""
        busy, served = LastMinute(), LastMinute()
        for held in self._held.values():
            if held.started is not None:
                _add_span(busy, served, held, now=now)
        return (
            _sum(self._busy.totals(now), busy.totals(now)),
            _sum(self._served.totals(now), served.totals(now)),
        )


def _add_span(busy: LastMinute, served: LastMinute, held: _Held, *, now: float) -> None:
    """Count the time of a group for its device and, by their lanes, for its tenants."""
    start = now if held.started is None else held.started
    actions = held.group.group.actions
    busy.add_span(held.group.device, start=start, end=now)
    for tenant, lanes in Counter(action.tenant for action in actions).items():
        served.add_span(tenant, start=start, end=now, share=lanes / len(actions))


def _sum(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    return {label: first.get(label, 0.0) + second.get(label, 0.0) for label in {*first, *second}}


def _of_priority(rows: Iterable[QueueRow], priority: int) -> QueuePicture:
    own = [row for row in rows if row.priority == priority]
    return QueuePicture(
        priority=priority,
        ready=sum(row.ready for row in own),
        blocked=sum(row.blocked for row in own),
        leased=sum(row.leased for row in own),
        oldest_seconds=max((row.oldest_seconds for row in own), default=0.0),
    )


def _state(workers: int, groups: Iterable[GroupPicture]) -> DeviceState:
    if not workers:
        return DeviceState.NO_WORKER
    return DeviceState.BUSY if any(group.started for group in groups) else DeviceState.IDLE
