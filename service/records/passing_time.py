"""What the scheduler asks of the records when it starts and when time passes, as a protocol."""

from collections.abc import Mapping
from typing import Protocol

from auditor.stagelog.digest import Digest
from service.records.jobs import Lease, LeasedAction, QueueRow


class SchedulerRecords(Protocol):
    """What the scheduler looks at when it starts and when time passes."""

    def recover(self) -> int:
        """Put back every action that this front end leased in an earlier life; return how many."""

    def expire(self) -> Mapping[Lease, LeasedAction]:
        """Return actions of this front end's workers whose lease has run out."""

    def abandoned(self) -> Mapping[Lease, LeasedAction]:
        """Return actions whose lease ran out at a front end that does nothing about it."""

    def saved(self) -> frozenset[Digest]:
        """Return the states that pending actions may go on from."""

    def settled(self) -> tuple[str, ...]:
        """Return live audits with no action left to compute that nobody else carries on."""

    def overdue(self) -> tuple[str, ...]:
        """Return live audits past their deadline."""

    def queue(self) -> tuple[QueueRow, ...]:
        """Return how many wanted actions are not done, and where they stand."""

    def next_retry(self) -> float | None:
        """Return when the next delayed action is ready, seconds since 1970; None if none is."""
