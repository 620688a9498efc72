"""What the scheduler tells operators: metrics, one log line a fact, and the overview of now."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import final

import structlog

from auditor.plan.actions import ActionKey
from service.metrics import Metrics
from service.records.jobs import AuditRow, QueueRow, StoredPlan
from service.scheduler.assignments import Assignment
from service.scheduler.leases import Death
from service.scheduler.overview import Overview
from service.scheduler.picture import PRIORITIES

_log = structlog.get_logger()


@final
class Telemetry:
    """Translates facts of the scheduler into metrics and log lines.

    Args:
        metrics: The service's metrics.
        max_lanes: Most lanes that a group can have.
        overview: Kept up with the same facts.
    """

    def __init__(self, metrics: Metrics, *, max_lanes: int, overview: Overview) -> None:
        self._metrics = metrics
        self._max_lanes = max_lanes
        self._overview = overview

    def planned(self, audit: str, plan: StoredPlan, *, kinds: Mapping[ActionKey, str]) -> None:
        """An audit's round met what was there."""
        for result, keys in (("miss", plan.new), ("joined", plan.joined), ("hit", plan.cached)):
            for kind, count in Counter(kinds[key] for key in keys).items():
                self._metrics.action_cache_lookups.labels(kind=kind, result=result).inc(count)
        _log.info(
            "audit planned",
            audit=audit,
            new=len(plan.new),
            joined=len(plan.joined),
            cached=len(plan.cached),
        )

    def rejected(self, reason: str) -> None:
        """An audit was not admitted."""
        self._metrics.admission_rejections.labels(reason=reason).inc()

    def worker_ready(self, worker: str, device: str, *, budget: int | None) -> None:
        """A worker takes groups, which may use so many bytes; None if it does not say."""
        self._overview.worker_ready(worker, device, budget=budget)
        self._memory(device)

    def worker_gone(self, worker: str, device: str) -> None:
        """A worker takes no more groups."""
        self._overview.worker_gone(worker)
        self._memory(device)

    def group_handed_out(self, group: Assignment) -> None:
        """A worker has a group."""
        self._overview.handed_out(group)

    def group_stepped(self, group: Assignment, *, done: int, total: int) -> None:
        """A group is so many steps far."""
        self._overview.stepped(group, done=done, total=total)

    def group_left(self, group: Assignment) -> None:
        """A group is no longer on its worker, with results or without."""
        self._overview.left(group)
        self._memory(group.device)

    def group_started(self, group: Assignment, *, predicted: float) -> None:
        """A group is on its device and should need so many bytes."""
        self._overview.started(group, reserved=round(predicted))
        self._memory(group.device)
        lanes = len(group.actions)
        self._metrics.group_lanes.labels(kind=group.kind).observe(lanes)
        self._metrics.group_fill_ratio.labels(kind=group.kind).observe(lanes / self._max_lanes)
        for action in group.actions:
            wait = self._metrics.action_wait_seconds.labels(priority=str(action.priority))
            wait.observe(action.waited_seconds)

    def group_done(self, group: Assignment, *, lanes: int, seconds: float) -> None:
        """A group ended; ``seconds`` is its whole time, ``lanes`` were not cancelled meanwhile."""
        device_kind = group.device.partition(":")[0]
        self._metrics.actions_finished.labels(kind=group.kind, outcome="done").inc(lanes)
        duration = self._metrics.action_seconds.labels(kind=group.kind, device_kind=device_kind)
        for _ in range(lanes):
            duration.observe(seconds / lanes)
        self._metrics.device_busy_seconds.labels(device=group.device).inc(seconds)
        leased = group.group.actions
        for tenant, own in Counter(action.tenant for action in leased).items():
            label = self._metrics.tenant_label(tenant)
            served = self._metrics.tenant_device_seconds.labels(tenant=label)
            served.inc(seconds * own / len(leased))
        _log.info(
            "group done",
            kind=group.kind,
            lanes=lanes,
            seconds=round(seconds, 4),
            worker=group.worker,
            audits=len(group.audits),
        )

    def group_put_back(self, group: Assignment, *, reason: str, failed: int) -> None:
        """A group brought no results; ``failed`` of its actions are not tried again."""
        if failed:
            outcome = self._metrics.actions_finished.labels(kind=group.kind, outcome="failed")
            outcome.inc(failed)
        _log.warning(
            "group put back",
            kind=group.kind,
            lanes=len(group.actions),
            reason=reason,
            failed=failed,
            worker=group.worker,
        )

    def group_resumed(self, group: Assignment, *, steps: int) -> None:
        """A group went on from saved states."""
        self._metrics.steps_resumed.inc(steps)
        _log.info("group resumed", kind=group.kind, steps=steps, worker=group.worker)

    def states_saved(self, count: int) -> None:
        """States of a running group were stored."""
        self._metrics.states_saved.inc(count)

    def split_for_memory(self, group: Assignment) -> None:
        """A group was halved because memory ran out."""
        self._metrics.oom_splits.labels(kind=group.kind).inc()

    def memory_measured(self, group: Assignment, *, used: int, ratio: float | None) -> None:
        """A group has ended, and this is what it needed at most, also relative to prediction."""
        self._overview.memory_used(group.device, used)
        self._memory(group.device)
        if ratio is not None:
            self._metrics.device_memory_prediction_ratio.labels(kind=group.kind).set(ratio)

    def _memory(self, device: str) -> None:
        """Show a device's memory, over all of its workers and groups."""
        found, gauge = self._overview.memory(device), self._metrics.device_memory_bytes
        gauge.labels(device=device, state="reserved").set(found.reserved)
        if found.budget is not None:
            gauge.labels(device=device, state="budget").set(found.budget)
        elif not self._overview.has_worker(device):
            gauge.labels(device=device, state="budget").set(0)
        if found.used is not None:
            gauge.labels(device=device, state="used").set(found.used)

    def worker_ended(self, device: str, death: Death) -> None:
        """A worker process ended while the service goes on."""
        self._overview.worker_restarts(device)
        self._metrics.worker_restarts.labels(device=device, reason=death.value).inc()

    def leases_expired(self, count: int) -> None:
        """Leases ran out without an answer."""
        self._metrics.lease_expirations.inc(count)
        _log.warning("leases expired", count=count)

    def signed(self, outcome: str) -> None:
        """A report was signed, or could not be."""
        self._metrics.signatures.labels(result=outcome).inc()

    def audit_ended(self, audit: AuditRow) -> None:
        """An audit reached its last state."""
        self._overview.ended(audit)
        outcome = audit.state.lower()
        seconds = (audit.finished or audit.updated) - audit.created
        tenant = self._metrics.tenant_label(audit.tenant)
        self._metrics.audits_finished.labels(tenant=tenant, outcome=outcome).inc()
        self._metrics.audit_seconds.labels(outcome=outcome).observe(seconds)
        _log.info(
            "audit ended",
            audit=audit.id,
            tenant=audit.tenant,
            outcome=outcome,
            seconds=round(seconds, 3),
            compute_seconds=round(audit.compute_seconds, 3),
            error=None if audit.error is None else audit.error.code,
        )

    def queue_limit(self, limit_bytes: int) -> None:
        """How much may wait."""
        self._metrics.queue_cost_limit_bytes.set(limit_bytes)

    def queue(self, rows: Sequence[QueueRow]) -> None:
        """How much is waiting now."""
        self._overview.queued(rows)
        for priority in PRIORITIES:
            own = [row for row in rows if row.priority == priority]
            label = str(priority)
            self._metrics.queue_actions.labels(priority=label).set(sum(row.ready for row in own))
            oldest = max((row.oldest_seconds for row in own), default=0.0)
            self._metrics.queue_oldest_age_seconds.labels(priority=label).set(oldest)
            cost = sum(row.cost_bytes for row in own)
            self._metrics.queue_cost_bytes.labels(priority=label).set(cost)
