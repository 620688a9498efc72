"""What the scheduler asks of the records about leases, as a protocol."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from auditor.plan.actions import ActionKey
from service.records.jobs import Changed, Claim, Completion, GiveUp, Lease, Retry
from service.records.saved_step import SavedStep
from service.scheduler.batch_delay import Launch
from service.scheduler.ready import ReadyAction


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitingGroup:
    """A group that has not begun on its worker, and can still be taken back.

    ``start_of`` gives start tags of tenants as if the group had not been served.
    """

    leases: tuple[Lease, ...]
    start_of: Callable[[str], float]


class LeaseRecords(Protocol):
    """Actions handed to workers and back."""

    def claim(
        self,
        owner: str,
        *,
        lanes_of: Callable[[ReadyAction], int],
        bytes_of: Callable[[ReadyAction], float],
        lease_seconds: float,
        launch: Launch,
        start_of: Callable[[str], float],
    ) -> Claim:
        """Lease the next group that may start.

        Args:
            owner: The worker.
            lanes_of: The largest group that an action may be in; asked of the head.
            bytes_of: What that group may need by prediction; asked of the head.
            lease_seconds: For how long.
            launch: Which groups may start.
            start_of: Start tags of tenants; the smallest is served first.
        """

    def overtaken(self, groups: Sequence[WaitingGroup]) -> bool:
        """Say whether something ready is more urgent than one of these groups.

        That is: of a smaller start tag, or of an equal one and a higher aged priority. Nothing is
        written: that is the usual answer to a question which every turn of the scheduler asks.
        """

    def recall(self, group: WaitingGroup) -> bool:
        """Put a group back that is overtaken and say so. The attempt does not count."""

    def extend(self, leases: Sequence[Lease], *, lease_seconds: float) -> tuple[Lease, ...]:
        """Prolong leases and return those that are void."""

    def save(self, saved: Mapping[Lease, SavedStep]) -> int:
        """Note where leased actions can go on from and return how many leases still held."""

    def complete(self, completions: Sequence[Completion]) -> Changed:
        """Store results of one group in one transaction and free what waited for them."""

    def put_back(self, decisions: Mapping[Lease, Retry | GiveUp]) -> Changed:
        """End leases without results."""

    def reopen(self, gone: Collection[ActionKey], leases: Sequence[Lease]) -> Changed:
        """Compute results again that are gone; ``leases`` read them and wait for them."""
