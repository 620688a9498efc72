"""Takes requests for audits: checks, plans and stores them, or only says what they would compute.

Blocking; called from threads.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

from auditor.audit.forecast import Forecast
from auditor.edge.clock import Clock
from auditor.errors import InputError, ResourceError, StageLogError, UnavailableError
from auditor.plan.actions import ActionKey
from auditor.plan.request import AuditRequest
from auditor.stagelog.digest import Digest, digest_of
from auditor.stagelog.strict_json import load_object, parse_record
from service.admission import Admission
from service.capacity import MemoryForecast
from service.errors import QueueFullError, TenantQueueFullError
from service.planning import AuditPlanner, PlannedRound
from service.records.base import RequestKey
from service.records.jobs import AuditReader, AuditRecords, AuditRow, NewAction, NewAudit
from service.scheduler.loop import Event, Joined, Wake
from service.telemetry import Telemetry
from service.ulid import new_ulid

REQUEST_FIELD = "request_json"


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditLimits:
    """What a tenant may ask for."""

    live_audits: int
    audit_seconds: float  #: until the deadline, when the caller names none
    audit_seconds_max: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """A request for an audit as it came; ``deadline`` is in seconds since 1970."""

    tenant: str
    request_json: str
    priority: int
    deadline: float | None
    request_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class DryAction:
    """An action that an audit would need."""

    action: NewAction
    cached: bool
    gradient_examples: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DryPlan:
    """What an audit would compute."""

    request_digest: Digest
    actions: tuple[DryAction, ...]
    forecast: Forecast
    memory: MemoryForecast


@final
class Submission:
    """The way in for audits; thread-safe.

    Args:
        audits: Where audits are stored.
        reader: Which results are there.
        admission: Refuses requests about things that are not there.
        planner: Plans requests.
        report: The scheduler's ear.
        telemetry: What operators are told.
        clock: Names audits and bounds deadlines.
        limits: What a tenant may ask for.
    """

    def __init__(
        self,
        *,
        audits: AuditRecords,
        reader: AuditReader,
        admission: Admission,
        planner: AuditPlanner,
        report: Callable[[Event], None],
        telemetry: Telemetry,
        clock: Clock,
        limits: AuditLimits,
    ) -> None:
        self._audits = audits
        self._reader = reader
        self._admission = admission
        self._planner = planner
        self._report = report
        self._telemetry = telemetry
        self._clock = clock
        self._limits = limits
        self._closed = threading.Event()

    def close(self) -> None:
        """Take no new audits from now on."""
        self._closed.set()

    def create(self, ask: Ask) -> AuditRow:
        """Store an audit and return it; nothing is stored when it is refused.

        Raises:
            UnavailableError: If the service is stopping.
            InputError: If the request is not valid.
            RequestIdReusedError: If the request id was used for another request.
            QueueFullError: If too much work waits.
            TenantQueueFullError: If too much of it is the tenant's own.
            ResourceError: If the tenant has too many live audits, or no device is large enough.
        """
        self.require_open()
        request = parse_request(ask.request_json)
        repeated = _request_key(ask, request)
        # First of all: what was accepted once is neither refused nor counted when it is repeated.
        earlier = None if repeated is None else self._audits.earlier(ask.tenant, repeated)
        if earlier is not None:
            return earlier
        deadline = self._deadline(ask.deadline)
        self._admission.check(ask.tenant, request)
        planned = self._planner.plan(request, {})
        there, gone = self._results(ask.tenant, planned)
        self._require_room(ask.tenant, planned, there, log=request.log)
        new = NewAudit(
            id=new_ulid(self._clock.now()),
            tenant=ask.tenant,
            request_digest=self._admission.keep(ask.tenant, request),
            log_digest=Digest(request.log),
            model_digest=None if request.model is None else Digest(request.model),
            priority=ask.priority,
            deadline=deadline,
            operator=request.operator,
            request=repeated,
            max_live_audits=self._limits.live_audits,
            actions=planned.actions,
        )
        return self.store(new, gone=gone)

    def plan(self, tenant: str, request_json: str) -> DryPlan:
        """Return what an audit would compute; nothing is stored.

        Raises:
            InputError: If the request is not valid.
            ResourceError: If no device is large enough.
        """
        request = parse_request(request_json)
        self._admission.check(tenant, request)
        planned = self._planner.plan(request, {})
        there, _ = self._results(tenant, planned)
        waiting = [action for action in planned.actions if action.key not in there]
        self._admission.capacity.require(waiting, log=request.log)
        return DryPlan(
            request_digest=digest_of(request),
            actions=tuple(
                DryAction(
                    action=action,
                    cached=action.key in there,
                    gradient_examples=self._planner.gradient_examples(request, action),
                )
                for action in planned.actions
            ),
            forecast=self._planner.forecast(request, there),
            memory=self._admission.capacity.forecast(waiting),
        )

    def _results(
        self, tenant: str, planned: PlannedRound
    ) -> tuple[Mapping[ActionKey, Digest], frozenset[Digest]]:
        """Return the results that can be used again, and those that are no longer stored."""
        known = self._reader.known_results(tenant, [a.key for a in planned.actions])
        gone = self._planner.missing(known.values())
        return {key: result for key, result in known.items() if result not in gone}, gone

    def _require_room(
        self, tenant: str, planned: PlannedRound, there: Mapping[ActionKey, Digest], *, log: str
    ) -> None:
        """Refuse a plan that fits no device, or not into the queue beside what waits already."""
        waiting = [action for action in planned.actions if action.key not in there]
        try:
            self._admission.capacity.require(waiting, log=log)
            pending = self._reader.pending(tenant, [action.key for action in waiting])
            self._admission.capacity.admit(
                tenant,
                [action for action in waiting if action.key not in pending],
                queued=self._reader.queued(),
            )
        except (QueueFullError, TenantQueueFullError) as error:
            self._telemetry.rejected(error.code.lower())
            raise
        except ResourceError:
            self._telemetry.rejected("device_memory")
            raise

    @property
    def live_audits(self) -> int:
        """Most audits and checks of a tenant that may be under way."""
        return self._limits.live_audits

    def usual_deadline(self) -> float:
        """Return when something fails that is accepted now, in seconds since 1970."""
        return self._deadline(None)

    def require_open(self) -> None:
        """Refuse what comes when the service is stopping.

        Raises:
            UnavailableError: If it is.
        """
        if self._closed.is_set():
            raise UnavailableError(
                "service",
                expected="a service that takes audits",
                found="one that is stopping",
                remedy="Try again in a moment.",
            )

    def store(self, new: NewAudit, *, gone: frozenset[Digest]) -> AuditRow:
        """Store an audit or a check whose request was accepted, and tell the scheduler.

        Args:
            new: With its first round of actions.
            gone: Results that are no longer stored.

        Raises:
            RequestIdReusedError: If the request id was used for another request.
            ResourceError: If the tenant has too many live audits.
        """
        try:
            row, plan = self._audits.create(new, gone=gone)
        except ResourceError:
            self._telemetry.rejected("live_audits")
            raise
        if row.id == new.id:  # else it answers an earlier request with the same id
            kinds = {action.key: action.kind for action in new.actions}
            self._telemetry.planned(row.id, plan, kinds=kinds)
            if plan.joined:
                self._report(Joined(audit=row.id, keys=frozenset(plan.joined)))
            self._report(Wake(settled=(row.id,) if plan.settled else ()))
        return row

    def _deadline(self, asked: float | None) -> float:
        now = self._clock.now().timestamp()
        if asked is None:
            return now + self._limits.audit_seconds
        if not now < asked <= now + self._limits.audit_seconds_max:
            raise InputError(
                "deadline_time",
                expected=f"a time in the next {self._limits.audit_seconds_max:g} s",
                found=f"{asked - now:.0f} s from now",
                remedy="Leave it out for the usual deadline.",
            )
        return asked


def parse_request(text: str) -> AuditRequest:
    """Return the request that ``text`` describes.

    Raises:
        InputError: If it is no such JSON.
    """
    data = text.encode()
    try:
        load_object(data, where=REQUEST_FIELD)
        return parse_record(AuditRequest, data, where=REQUEST_FIELD)
    except StageLogError as error:
        raise InputError(
            error.where,
            expected=error.expected,
            found=error.found,
            remedy="Write the request as docs/howto/audit.md describes it.",
        ) from error


def _request_key(ask: Ask, request: AuditRequest) -> RequestKey | None:
    if ask.request_id is None:
        return None
    repeated = {
        "request": digest_of(request),
        "priority": ask.priority,
        "deadline": ask.deadline,
    }
    return RequestKey(
        id=ask.request_id, digest=digest_of({k: v for k, v in repeated.items() if v is not None})
    )
