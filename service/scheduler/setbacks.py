"""Groups that brought no results: decides about every action and writes the decisions."""

from collections.abc import Callable, Mapping
from typing import final

from auditor.errors import ArtifactDigestError
from auditor.plan.actions import ActionKey
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest
from service.failures import Failure, WorkerLostError, failure_of
from service.records.jobs import Changed, GiveUp, Lease, LeasedAction, Retry
from service.records.leasing import LeaseRecords
from service.scheduler.assignments import Assignment
from service.scheduler.leases import (
    Death,
    RetryPolicy,
    after_death,
    after_expiry,
    after_failure,
    after_interruption,
    names_missing_input,
    ran_out_of_memory,
)
from service.telemetry import Telemetry


@final
class Setbacks:
    """Applies the retry policy.

    Args:
        leases: Where the decisions are written.
        blobs: Tells which results are gone.
        telemetry: What operators are told.
        max_attempts: How often an action is tried.
        jitter: Draws a factor in [0.5, 1.5] for the delay between attempts.
    """

    def __init__(
        self,
        leases: LeaseRecords,
        blobs: BlobStore,
        *,
        telemetry: Telemetry,
        max_attempts: int,
        jitter: Callable[[], float],
    ) -> None:
        self._leases = leases
        self._blobs = blobs
        self._telemetry = telemetry
        self._max_attempts = max_attempts
        self._jitter = jitter

    def failed(self, group: Assignment, failure: Failure) -> Changed:
        """A group reported a typed error."""
        if names_missing_input(failure):
            gone = self._gone(group.group.results)
            if gone:
                self._telemetry.group_put_back(group, reason="results gone", failed=0)
                return self._leases.reopen(gone, [action.lease for action in group.actions])
        lanes = len(group.actions)
        if lanes > 1 and ran_out_of_memory(failure):
            self._telemetry.split_for_memory(group)
        policy = self._policy()
        decisions = {
            action.lease: after_failure(action, failure, lanes=lanes, policy=policy)
            for action in group.actions
        }
        return self._write(group, decisions, reason=failure.code)

    def interrupted(self, group: Assignment) -> Changed:
        """A group was abandoned on our wish, or never started before its worker ended."""
        policy = self._policy()
        lost = _worker_lost()
        decisions = {
            action.lease: after_interruption(action, lost, policy) for action in group.actions
        }
        return self._write(group, decisions, reason="interrupted")

    def worker_ended(self, group: Assignment, death: Death) -> Changed:
        """A worker ended while it computed the group."""
        lanes = len(group.actions)
        policy = self._policy()
        decisions = {
            action.lease: after_death(action, death, lanes=lanes, policy=policy)
            for action in group.actions
        }
        return self._write(group, decisions, reason=f"worker ended: {death}")

    def expired(self, actions: Mapping[Lease, LeasedAction]) -> Changed:
        """Leases ran out without a word from the worker."""
        self._telemetry.leases_expired(len(actions))
        policy = self._policy()
        return self._leases.put_back({
            lease: after_expiry(action, policy=policy) for lease, action in actions.items()
        })

    def abandoned(self, actions: Mapping[Lease, LeasedAction]) -> Changed:
        """Leases ran out at a front end that is gone: its workers ended with it."""
        self._telemetry.leases_expired(len(actions))
        policy = self._policy()
        lost = _worker_lost()
        return self._leases.put_back({
            lease: after_interruption(action, lost, policy) for lease, action in actions.items()
        })

    def _write(
        self, group: Assignment, decisions: Mapping[Lease, Retry | GiveUp], *, reason: str
    ) -> Changed:
        given_up = sum(isinstance(decision, GiveUp) for decision in decisions.values())
        self._telemetry.group_put_back(group, reason=reason, failed=given_up)
        return self._leases.put_back(decisions)

    def _policy(self) -> RetryPolicy:
        return RetryPolicy(max_attempts=self._max_attempts, jitter=self._jitter())

    def _gone(self, results: Mapping[ActionKey, Digest]) -> tuple[ActionKey, ...]:
        """Return the keys of results that cannot be read; reading sets corrupt ones aside."""
        return tuple(key for key, digest in results.items() if not self._readable(digest))

    def _readable(self, digest: Digest) -> bool:
        if not self._blobs.has(digest):
            return False
        try:
            self._blobs.read(digest)
        except ArtifactDigestError:
            return False
        return True


def _worker_lost() -> Failure:
    return failure_of(
        WorkerLostError(
            "worker",
            expected="a worker that is not interrupted",
            found="too many interruptions",
            remedy="Look for what ends workers in the service's log, then ask for the audit again.",
        )
    )
