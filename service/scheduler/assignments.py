"""Which worker holds which groups: the scheduler's memory, rebuilt from nothing at a start."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import final

from auditor.plan.actions import ActionKey
from auditor.plan.room import Needed, Together
from auditor.stagelog.digest import Digest
from service.records.jobs import Lease, LeasedAction, LeasedGroup
from service.scheduler.fair_share import Charge


@dataclass(kw_only=True, slots=True)
class Assignment:
    """A group on its worker; leases that became void are taken out of it."""

    id: int
    worker: str
    device: str
    group: LeasedGroup
    charge: Charge
    started: bool = False
    resumed: bool = False  #: went on from saved states, so it takes less than others of its kind
    revoked: set[Lease] = field(default_factory=set)
    joined: set[str] = field(default_factory=set)  #: audits that came when it was leased already

    @property
    def actions(self) -> tuple[LeasedAction, ...]:
        """The actions whose leases still hold."""
        return tuple(a for a in self.group.actions if a.lease not in self.revoked)

    @property
    def kind(self) -> str:
        """Kind of its actions."""
        return self.group.actions[0].kind

    @property
    def key(self) -> Digest:
        """The group key of its actions."""
        return self.group.actions[0].group_key

    @property
    def needed(self) -> Needed:
        """The device memory that was predicted for it: what is fixed, once for each log."""
        together = Together()
        for action in self.group.actions:
            together = together.plus(action.log, fixed=action.fixed_bytes, lane=action.lane_bytes)
        return together.needed

    @property
    def audits(self) -> tuple[str, ...]:
        """The audits that wait for it."""
        leased_for = (audit for action in self.actions for audit in action.audits)
        return tuple(dict.fromkeys((*leased_for, *sorted(self.joined))))

    def concerns(self, audit: str) -> bool:
        """Say whether an audit waits for it; safe to ask from any thread."""
        return audit in self.joined or any(audit in action.audits for action in self.actions)


@final
class Assignments:
    """Groups by worker."""

    def __init__(self) -> None:
        self._devices: dict[str, str] = {}
        self._groups: dict[int, Assignment] = {}
        self._last_id = 0

    def add_worker(self, worker: str, device: str) -> None:
        """Note a worker that takes groups."""
        self._devices[worker] = device

    def remove_worker(self, worker: str) -> tuple[Assignment, ...]:
        """Forget a worker and return what it held."""
        self._devices.pop(worker, None)
        held = tuple(self.held_by(worker))
        for assignment in held:
            del self._groups[assignment.id]
        return held

    def workers_with_room(self, depth: int) -> tuple[str, ...]:
        """Return workers that hold fewer than ``depth`` groups, the idlest first."""
        loads = {worker: len(list(self.held_by(worker))) for worker in self._devices}
        return tuple(sorted((w for w in loads if loads[w] < depth), key=lambda w: loads[w]))

    def not_begun(self) -> tuple[Assignment, ...]:
        """Return the groups that wait on a worker behind another one."""
        first = {a.worker: a.id for a in reversed(self._groups.values())}
        return tuple(a for a in self._groups.values() if not a.started and a.id != first[a.worker])

    def device_of(self, worker: str) -> str:
        """Return the device of a worker that takes groups."""
        return self._devices[worker]

    def is_idle(self, worker: str) -> bool:
        """Say whether a worker holds nothing."""
        return next(self.held_by(worker), None) is None

    def assign(self, worker: str, group: LeasedGroup, *, charge: Charge) -> Assignment:
        """Note that a worker holds a group, and what its tenants were charged."""
        self._last_id += 1
        assignment = Assignment(
            id=self._last_id,
            worker=worker,
            device=self._devices[worker],
            group=group,
            charge=charge,
        )
        self._groups[assignment.id] = assignment
        return assignment

    def find(self, group_id: int) -> Assignment | None:
        """Return a group that is held."""
        return self._groups.get(group_id)

    def take(self, group_id: int) -> Assignment | None:
        """Return a group and forget it."""
        return self._groups.pop(group_id, None)

    def restore(self, assignment: Assignment) -> None:
        """Take a group back that :meth:`take` or :meth:`remove_worker` returned."""
        self._groups[assignment.id] = assignment

    def held_by(self, worker: str) -> Iterator[Assignment]:
        """Yield a worker's groups in the order in which it runs them."""
        return (a for a in self._groups.values() if a.worker == worker)

    def revoke(
        self, leases: Iterable[Lease]
    ) -> tuple[tuple[Assignment, tuple[ActionKey, ...]], ...]:
        """Take void leases out of their groups; return the groups with the keys concerned.

        A key that another tenant's lease in the group is about is still wanted.
        """
        void = set(leases)
        touched = []
        for assignment in self._groups.values():
            hit = [a for a in assignment.actions if a.lease in void]
            if hit:
                assignment.revoked |= {action.lease for action in hit}
                wanted = {action.key for action in assignment.actions}
                keys = tuple(action.key for action in hit if action.key not in wanted)
                touched.append((assignment, keys))
        return tuple(touched)

    def join(self, audit: str, keys: Collection[ActionKey]) -> None:
        """Note that an audit waits for actions that may be in groups already."""
        for assignment in self._groups.values():
            if any(action.key in keys for action in assignment.actions):
                assignment.joined.add(audit)

    @property
    def idle(self) -> bool:
        """Whether no worker holds anything."""
        return not self._groups

    @property
    def workers(self) -> int:
        """Number of workers that take groups."""
        return len(self._devices)
