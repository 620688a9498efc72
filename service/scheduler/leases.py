"""What happens to a leased action that brought no result: tried again, or given up; pure.

An attempt is spent when the action is handed out. It is given back when the action is not to
blame: the server restarted, the service drained, somebody killed the worker.
"""

from dataclasses import dataclass
from enum import StrEnum

from auditor.errors import ArtifactDigestError, ArtifactMissingError, ResourceError
from auditor.plan.room import halved
from service.failures import Failure, PoisonError, WorkerLostError, failure_of
from service.records.jobs import GiveUp, LeasedAction, Retry

RETURN_LIMIT = 10
"""How often an attempt is given back; later ones are spent."""

DEATH_LIMIT = 2
"""Workers that an action may kill by its own fault."""

_MAX_DELAY_SECONDS = 60.0
_RETRYABLE = frozenset({"UNAVAILABLE", WorkerLostError.code})
_MISSING_INPUT = frozenset({ArtifactMissingError.code, ArtifactDigestError.code})


class Death(StrEnum):
    """How a worker process ended while it held actions."""

    KILLED = "killed"  #: SIGKILL or SIGTERM from outside
    FAULT = "fault"  #: its own: a crash, or the kernel's out-of-memory killer
    EXIT = "exit"  #: anything else


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """How often an action is tried and how the delay between attempts is drawn."""

    max_attempts: int
    jitter: float  #: uniform in [0.5, 1.5], drawn by the caller


def after_failure(
    action: LeasedAction, failure: Failure, *, lanes: int, policy: RetryPolicy
) -> Retry | GiveUp:
    """Decide about an action whose group of ``lanes`` reported a failure.

    One lane's failure ends its whole group, so a group is halved until the lane to blame is alone;
    the halves cost no attempt. Out of memory is treated alike.
    """
    if failure.code in _RETRYABLE:
        return _again(action, failure, policy)
    if lanes > 1:
        return Retry(give_back=True, max_lanes=halved(lanes))
    return GiveUp(failure=failure)


def after_death(
    action: LeasedAction, death: Death, *, lanes: int, policy: RetryPolicy
) -> Retry | GiveUp:
    """Decide about an action that was running when its worker ended."""
    lost = failure_of(
        WorkerLostError(
            f"actions[{action.key[:12]}]",
            expected="an answer from the worker",
            found=f"a worker process that ended ({death})",
            remedy="Look for the reason in the service's log, then ask for the audit again.",
        )
    )
    match death:
        case Death.KILLED:
            return after_interruption(action, lost, policy)
        case Death.FAULT if lanes > 1:
            return Retry(give_back=True, max_lanes=halved(lanes))
        case Death.FAULT if action.deaths + 1 >= DEATH_LIMIT:
            return GiveUp(failure=_poison(action))
        case Death.FAULT:
            return Retry(delay_seconds=_delay(action, policy), died=True)
        case Death.EXIT:
            return _again(action, lost, policy)


def after_interruption(action: LeasedAction, lost: Failure, policy: RetryPolicy) -> Retry | GiveUp:
    """Decide about an action that somebody else interrupted: its attempt is given back."""
    if action.returned < RETURN_LIMIT:
        return Retry(give_back=True)
    return _again(action, lost, policy)


def after_expiry(action: LeasedAction, *, policy: RetryPolicy) -> Retry | GiveUp:
    """Decide about an action whose worker stopped answering."""
    expired = WorkerLostError(
        f"actions[{action.key[:12]}]",
        expected="a heartbeat of the worker",
        found="none before the lease ran out",
        remedy="Look for a stuck worker in the service's log, then ask for the audit again.",
    )
    return _again(action, failure_of(expired), policy)


def names_missing_input(failure: Failure) -> bool:
    """Say whether the failure may come from a result that is gone, to be computed again."""
    return failure.code in _MISSING_INPUT


def ran_out_of_memory(failure: Failure) -> bool:
    """Say whether the failure is one of memory."""
    return failure.code == ResourceError.code


def _again(action: LeasedAction, failure: Failure, policy: RetryPolicy) -> Retry | GiveUp:
    if action.attempt >= policy.max_attempts:
        return GiveUp(failure=failure)
    return Retry(delay_seconds=_delay(action, policy))


def _delay(action: LeasedAction, policy: RetryPolicy) -> float:
    return min(_MAX_DELAY_SECONDS, 2.0**action.attempt) * policy.jitter


def _poison(action: LeasedAction) -> Failure:
    return failure_of(
        PoisonError(
            f"actions[{action.key[:12]}]",
            expected="a worker that survives the action",
            found=f"{DEATH_LIMIT} workers that crashed on it",
            remedy="Look for crashes or memory limits in the service's log; it is not tried again.",
        )
    )
