"""Values and protocols of audits and actions: what the scheduler asks of the records."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from auditor.plan.actions import ActionKey
from auditor.stagelog.digest import Digest
from service.failures import Failure
from service.records.base import RequestKey
from service.records.checked_log import CheckedLog
from service.records.log_audits import AuditOfLog
from service.scheduler.batch_delay import NOT_YET
from service.scheduler.states import ActionState, AuditState

JobKind = Literal["audit", "check"]
"""What an operation does: answer a request for an audit, or check a log."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewAction:
    """An action as the planner describes it."""

    key: ActionKey
    kind: str
    group_key: Digest
    spec: str  #: canonical JSON
    needs: tuple[ActionKey, ...]
    fixed_bytes: int = 0  #: of device memory, predicted once for a group
    lane_bytes: int = 0  #: predicted for each lane


@dataclass(frozen=True, kw_only=True, slots=True)
class NewAudit:
    """An audit about to be stored with its first round of actions."""

    id: str  #: ULID
    tenant: str
    request_digest: Digest
    log_digest: Digest
    model_digest: Digest | None
    priority: int
    deadline: float
    operator: str | None
    request: RequestKey | None
    max_live_audits: int
    actions: tuple[NewAction, ...]
    kind: JobKind = "audit"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Actions of an audit by state."""

    actions: int
    cached: int  #: were done when the audit asked for them
    done: int  #: the cached ones included
    running: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditRow:
    """A stored audit; times are seconds since 1970."""

    id: str
    tenant: str
    request_digest: Digest
    log_digest: Digest
    model_digest: Digest | None
    priority: int
    state: AuditState
    round: int
    deadline: float
    operator: str | None
    error: Failure | None
    report_digest: Digest | None
    created: float
    started: float | None
    finished: float | None
    updated: float
    progress: Progress
    compute_seconds: float  #: of its actions that were not cached
    kind: JobKind = "audit"
    verdict: str | None = None  #: of a check that succeeded: JSON
    causes: tuple[str, ...] = ()  #: why a check made its log unusable


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionRow:
    """A stored action of an audit."""

    key: ActionKey
    kind: str
    state: ActionState
    cached: bool
    result: Digest | None
    spec: str
    execution: Digest | None = None  #: the stored record of the group that computed the result


@dataclass(frozen=True, kw_only=True, slots=True)
class EventRow:
    """One line of an audit's history; ``sequence`` counts from 1."""

    sequence: int
    created: float
    kind: str
    state: AuditState
    progress: Progress
    action_key: str
    action_kind: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """The right to write one action's result: void once the fence has moved on."""

    action: int
    fence: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LeasedAction:
    """An action handed out, with what decides about its next attempt."""

    lease: Lease
    key: ActionKey
    tenant: str
    kind: str
    group_key: Digest
    spec: str
    attempt: int  #: this one included
    returned: int
    deaths: int
    priority: int
    waited_seconds: float
    audits: tuple[str, ...]
    fixed_bytes: int = 0
    lane_bytes: int = 0
    log: str = ""  #: the log that its spec names
    saved: Digest | None = None  #: the state that it may go on from


@dataclass(frozen=True, kw_only=True, slots=True)
class LeasedGroup:
    """Actions of one group key, leased in one transaction."""

    actions: tuple[LeasedAction, ...]
    results: Mapping[ActionKey, Digest]  #: of everything that they read


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """The result of a leased action."""

    lease: Lease
    digest: Digest
    size: int
    gradient_examples: int
    compute_seconds: float
    lanes: int
    execution: Digest | None = None  #: the stored record of its group


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """Put a leased action back.

    ``give_back``: the attempt does not count. ``max_lanes``: run it in groups of at most so many
    from now on. ``died``: it killed its worker by its own fault.
    """

    delay_seconds: float = 0.0
    give_back: bool = False
    max_lanes: int | None = None
    died: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class GiveUp:
    """Fail a leased action, and with it every audit that wants it."""

    failure: Failure


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancelled:
    """What a cancellation or failure changed: audits that ended, leases that are void."""

    audits: tuple[str, ...] = ()
    revoked: tuple[Lease, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Changed:
    """What a transaction of the scheduler changed.

    ``settled`` audits have no action left to compute; ``lost`` leases were void before.
    """

    audits: tuple[str, ...] = ()
    settled: tuple[str, ...] = ()
    lost: tuple[Lease, ...] = ()
    ended: Cancelled = field(default_factory=Cancelled)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredPlan:
    """How a round of actions met what was there: keys by outcome."""

    new: tuple[ActionKey, ...]
    joined: tuple[ActionKey, ...]
    cached: tuple[ActionKey, ...]
    settled: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedReport:
    """A finished audit's bundle, stored as a blob before the row that points to it."""

    digest: Digest  #: of the signed payload
    bundle: Digest
    bundle_size_bytes: int
    keyid: str
    attachments: Mapping[Digest, int] = field(default_factory=dict)  #: further blobs and sizes


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueRow:
    """Actions of one tenant and group key that are wanted, by the live audits that want them.

    ``blocked`` ones wait for results or for another attempt; ``oldest_seconds`` is the age of the
    oldest ``ready`` one, 0 without one.
    """

    tenant: str
    kind: str
    group_key: Digest
    priority: int  #: the highest of these audits
    deadline: float  #: the first of theirs
    ready: int
    blocked: int
    leased: int
    oldest_seconds: float
    cost_bytes: int = 0  #: predicted device memory of the ready ones, a lane each


@dataclass(frozen=True, kw_only=True, slots=True)
class QueuedWork:
    """Actions of one tenant and group key that wait or run: a lane each, and their bytes."""

    tenant: str
    group_key: Digest
    lanes: int
    lane_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """The group that was leased, if any, and when one that waits for lanes may start.

    ``due`` is in seconds since 1970, infinite when only an event can change something.
    """

    group: LeasedGroup | None
    due: float = NOT_YET


class AuditRecords(Protocol):
    """Audits: created, planned further, ended."""

    def earlier(self, tenant: str, request: RequestKey) -> AuditRow | None:
        """Return the audit that was stored under a request id, if there is one.

        Raises:
            RequestIdReusedError: If the request id was used for another request.
        """

    def create(self, new: NewAudit, *, gone: Collection[Digest]) -> tuple[AuditRow, StoredPlan]:
        """Store an audit, its missing actions and its request id in one transaction.

        Results in ``gone`` are no longer stored and are computed again. The same request id with
        the same hash returns the audit stored before.

        Raises:
            RequestIdReusedError: If the request id was used for another request.
            ResourceError: If the tenant has too many live audits.
        """

    def take(self, audit: str, *, seconds: float) -> bool:
        """Reserve a live audit to plan or sign it; False if it is over or somebody has it."""

    def append(
        self,
        audit: str,
        actions: Sequence[NewAction],
        *,
        gone: Collection[Digest],
        after_round: int,
    ) -> StoredPlan:
        """Add a round of actions to a live audit that is at round ``after_round``."""

    def begin_signing(self, audit: str) -> bool:
        """Move an audit to SIGNING; False if it is over."""

    def finish(self, audit: str, report: SignedReport) -> bool:
        """Store the report and move the audit to SUCCEEDED together; False if it is over."""

    def end(self, audit: str, *, failure: Failure | None) -> Cancelled:
        """Fail the audit, or cancel it when there is no failure; nothing if it is over."""

    def delete(self, tenant: str, audit: str) -> None:
        """Take a finished audit off the lists; its report and its results stay.

        Raises:
            ArtifactMissingError: If the tenant has no such audit.
            PreconditionError: If it is not finished.
        """


class AuditReader(Protocol):
    """What is asked about audits."""

    def get(self, tenant: str, audit: str) -> AuditRow:
        """Return one audit.

        Raises:
            ArtifactMissingError: If the tenant has no such audit.
        """

    def page(
        self,
        tenant: str,
        *,
        limit: int,
        before: str | None,
        log: Digest | None,
        kind: JobKind | None = None,
    ) -> tuple[AuditRow, ...]:
        """Return audits, newest first, older than ``before``; of one kind, or of all."""

    def find(self, audit: str) -> AuditRow:
        """Return one audit of any tenant, deleted or not."""

    def of_log(self, tenant: str, log: Digest) -> tuple[AuditOfLog, ...]:
        """Return all audits of a log, deleted ones too, in the order in which they were asked."""

    def actions(self, audit: str) -> tuple[ActionRow, ...]:
        """Return the audit's actions."""

    def events(self, audit: str, *, after: int) -> tuple[EventRow, ...]:
        """Return the audit's events with a greater sequence, in order."""

    def known_results(self, tenant: str, keys: Collection[ActionKey]) -> Mapping[ActionKey, Digest]:
        """Return the results that are there."""

    def pending(self, tenant: str, keys: Collection[ActionKey]) -> frozenset[ActionKey]:
        """Return those of the actions that wait or run already, for other audits."""

    def queued(self) -> Sequence[QueuedWork]:
        """Return what waits or runs."""


class LogCheckRecords(Protocol):
    """What checks found out about logs."""

    def finish(self, check: str, found: CheckedLog) -> bool:
        """Store what was found and move the check to SUCCEEDED together; False if it is over."""
