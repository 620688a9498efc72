"""What the scheduler does about each event of a worker; called by the loop, on its thread."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import assert_never, final

import structlog

from auditor.errors import AuditorError, InternalError, UnavailableError
from auditor.plan.actions import ActionKey
from service.executors.base import (
    Executor,
    GroupAbandoned,
    GroupDone,
    GroupFailed,
    GroupResumed,
    GroupSaved,
    GroupStarted,
    GroupStepped,
    WorkerBeat,
    WorkerEnded,
    WorkerEvent,
    WorkerReady,
)
from service.notices import Notices, Step
from service.records.jobs import (
    Cancelled,
    Changed,
    Completion,
    Lease,
    LeasedAction,
    LeasedGroup,
)
from service.records.leasing import LeaseRecords, WaitingGroup
from service.records.saved_step import SavedStep
from service.rounds import Rounds
from service.scheduler.assignments import Assignment, Assignments
from service.scheduler.batch_delay import NOT_YET
from service.scheduler.fair_share import Charge, FairShare
from service.scheduler.formation import Formation
from service.scheduler.leases import ran_out_of_memory
from service.scheduler.ready import ReadyAction
from service.scheduler.setbacks import Setbacks
from service.telemetry import Telemetry

GROUPS_A_WORKER = 2
"""One group computes while the next one is already there."""

_log = structlog.get_logger()


@final
class Reactions:
    """Hands out groups and takes what comes back.

    Args:
        leases: Actions handed out and back.
        executor: Where groups run.
        rounds: Carries settled audits on.
        setbacks: Decides about groups without results.
        notices: Who waits for news.
        telemetry: What operators are told.
        shares: Which tenant is served next.
        formation: How large groups may be and how long they wait.
    """

    def __init__(
        self,
        *,
        leases: LeaseRecords,
        executor: Executor,
        rounds: Rounds,
        setbacks: Setbacks,
        notices: Notices,
        telemetry: Telemetry,
        shares: FairShare,
        formation: Formation,
    ) -> None:
        self._leases = leases
        self._executor = executor
        self._rounds = rounds
        self._setbacks = setbacks
        self._notices = notices
        self._telemetry = telemetry
        self._shares = shares
        self._memory = formation.memory
        self._formation = formation
        self._assignments = Assignments()
        self._draining = False
        self._due = NOT_YET
        self._on_workers: Callable[[int], None] = lambda _count: None

    @property
    def idle(self) -> bool:
        """Whether no worker holds a group."""
        return self._assignments.idle

    @property
    def due(self) -> float:
        """When a group that waits for lanes may start, seconds since 1970; infinite if none."""
        return self._due

    def on_workers(self, callback: Callable[[int], None]) -> None:
        """Call back with the number of workers when it changes."""
        self._on_workers = callback

    def drain(self) -> None:
        """Hand out nothing more; whatever ends from now on was interrupted."""
        self._draining = True

    def handle(self, event: WorkerEvent) -> None:
        """React to what a worker did."""
        match event:
            case WorkerReady(worker=worker, device=device, memory_bytes=budget):
                self._assignments.add_worker(worker, device)
                self._memory.add_worker(worker, budget)
                self._telemetry.worker_ready(worker, device, budget=budget)
                self._on_workers(self._assignments.workers)
            case WorkerBeat(worker=worker):
                self._extend(worker)
            case WorkerEnded():
                self._worker_ended(event)
            case GroupStarted(group=group_id):
                self._started(group_id)
            case GroupStepped():
                self._stepped(event)
            case GroupResumed():
                self._resumed(event)
            case GroupSaved():
                self._save(event)
            case GroupDone():
                self._done(event)
            case GroupFailed() | GroupAbandoned():
                self._without_results(event)
            case _:
                assert_never(event)

    def expired(self, actions: Mapping[Lease, LeasedAction]) -> None:
        """Leases ran out: their workers did not answer for a whole lease and are ended."""
        for worker in {group.worker for group, _ in self._assignments.revoke(actions)}:
            self._executor.end(worker)
        self._apply(self._setbacks.expired(actions))

    def abandoned(self, actions: Mapping[Lease, LeasedAction]) -> None:
        """Leases ran out at a front end that is gone."""
        self._apply(self._setbacks.abandoned(actions))

    def overdue(self, audits: Iterable[str]) -> None:
        """Deadlines of audits have come."""
        for audit in audits:
            self._ended(self._rounds.overdue(audit))

    def hand_out(self) -> None:
        """Give groups to workers as long as there is room and something ready."""
        self._due = NOT_YET
        if not self._draining:
            self._recall()
        while not self._draining:
            handed_out = [
                worker
                for worker in self._assignments.workers_with_room(GROUPS_A_WORKER)
                if self._hand_to(worker)
            ]
            if not handed_out:
                break
        if self._assignments.workers and self._assignments.idle:
            self._shares.level()

    def _recall(self) -> None:
        """Take back groups that wait on a worker while something more urgent is ready.

        So whoever comes with little waits for the group on the device and for no other.
        """
        waiting = self._assignments.not_begun()
        if not self._leases.overtaken([self._waiting(held) for held in waiting]):
            return
        # The last one first: only what was charged last can be undone without a trace.
        for held in reversed(waiting):
            if self._leases.recall(self._waiting(held)):
                self._shares.undo(held.charge)
                self._take(held.id)
                keys = [action.key for action in held.actions]
                self._executor.cancel(held.worker, held.id, keys)

    def _waiting(self, held: Assignment) -> WaitingGroup:
        return WaitingGroup(
            leases=tuple(action.lease for action in held.actions),
            start_of=self._shares.start_without(held.charge),
        )

    def _hand_to(self, worker: str) -> bool:
        device = self._assignments.device_of(worker)
        idle = self._assignments.is_idle(worker)
        claim = self._leases.claim(
            worker,
            lanes_of=partial(self._lanes_of, worker=worker),
            bytes_of=partial(self._memory.room, worker=worker),
            lease_seconds=self._formation.lease_seconds,
            launch=self._formation.for_idle(device) if idle else self._formation.for_busy(device),
            start_of=self._shares.start_of,
        )
        group = claim.group
        if group is None:
            self._due = min(self._due, claim.due)
            return False
        assignment = self._assignments.assign(worker, group, charge=self._charge(group))
        self._telemetry.group_handed_out(assignment)
        self._executor.submit(worker, assignment.id, group)
        self._notices.publish(assignment.audits)
        return True

    def _lanes_of(self, head: ReadyAction, *, worker: str) -> int:
        """Return the largest group that an action may be in on a worker."""
        fitting = self._memory.lanes(head, worker=worker)
        most = self._formation.lanes_of(head)
        return most if fitting is None else min(most, fitting)

    def _charge(self, group: LeasedGroup) -> Charge:
        """Charge the tenants of a group with what it is going to cost."""
        first, lanes = group.actions[0], len(group.actions)
        return self._shares.serve(
            [action.tenant for action in group.actions],
            seconds=self._formation.seconds_of(first.kind, first.group_key, lanes=lanes),
        )

    def join(self, audit: str, keys: Collection[ActionKey]) -> None:
        """Tell an audit, too, of groups that compute these actions."""
        self._assignments.join(audit, keys)

    def revoke(self, leases: Iterable[Lease]) -> None:
        """Tell workers that these leases are void."""
        for group, keys in self._assignments.revoke(leases):
            if keys:
                self._executor.cancel(group.worker, group.id, keys)

    def carry_on(self, audits: Iterable[str]) -> None:
        """Plan settled audits further or finish them."""
        for audit in audits:
            try:
                self.revoke(self._rounds.carry_on(audit).revoked)
            except AuditorError as error:  # a store is not available: the next upkeep tries again
                _log.warning("audit waits", audit=audit, error=error.code, message=str(error))
            except Exception:  # noqa: BLE001 - a bug in planning ends the audit, not the service
                _log.exception("audit failed", audit=audit)
                self.revoke(self._rounds.fail(audit, _bug(audit)).revoked)

    def _started(self, group_id: int) -> None:
        group = self._assignments.find(group_id)
        if group is not None:
            group.started = True
            lanes = len(group.actions)
            self._telemetry.group_started(
                group,
                predicted=self._memory.predicted(
                    group.kind, group.key, needed=group.needed, lanes=lanes
                ),
            )
            step = Step(kind=group.kind, lanes=lanes, done=0, total=0)
            self._notices.set_step(group.audits, step)

    def _stepped(self, event: GroupStepped) -> None:
        group = self._assignments.find(event.group)
        if group is not None:
            step = Step(
                kind=group.kind, lanes=len(group.actions), done=event.done, total=event.total
            )
            self._telemetry.group_stepped(group, done=event.done, total=event.total)
            self._notices.set_step(group.audits, step)

    def _resumed(self, event: GroupResumed) -> None:
        group = self._assignments.find(event.group)
        if group is not None:
            group.resumed = True
            self._telemetry.group_resumed(group, steps=event.steps)

    def _save(self, event: GroupSaved) -> None:
        group = self._assignments.find(event.group)
        if group is None:
            return
        told = {(own.key, own.fence): own for own in event.saved}
        saved = {
            action.lease: SavedStep(step=own.step, digest=own.digest)
            for action in group.actions
            if (own := told.get((action.key, action.lease.fence))) is not None
        }
        with self._kept_if_unavailable(group):
            self._telemetry.states_saved(self._leases.save(saved))

    def _done(self, event: GroupDone) -> None:
        group = self._take(event.group)
        if group is None:
            return
        # Two tenants may have the same action in one group, each with a lease of its own.
        told = {(result.key, result.fence): result for result in event.results}
        lanes = len(event.results)
        completions = [
            Completion(
                lease=action.lease,
                digest=result.digest,
                size=result.size,
                gradient_examples=result.gradient_examples,
                execution=result.execution,
                compute_seconds=event.compute_seconds / lanes,
                lanes=lanes,
            )
            for action in group.actions
            if (result := told.get((action.key, action.lease.fence))) is not None
        ]
        if completions:
            with self._kept_if_unavailable(group):
                self._apply(self._leases.complete(completions))
        self._telemetry.group_done(group, lanes=lanes, seconds=event.compute_seconds)
        if lanes and not group.resumed:
            # The seconds are those of the lanes that were not cancelled, from their first step on.
            seconds = event.compute_seconds
            self._formation.learn(group.kind, group.key, lanes=lanes, seconds=seconds)
            self._learn_memory(group, event)
        self._shares.correct(group.charge, seconds=event.compute_seconds)

    def _learn_memory(self, group: Assignment, event: GroupDone) -> None:
        lanes = len(event.results)
        self._memory.fitted(group.kind, group.key, lanes=lanes)
        if event.peak_bytes is None:
            return
        ratio = self._memory.learn(
            group.kind, group.key, needed=group.needed, lanes=lanes, measured=event.peak_bytes
        )
        self._telemetry.memory_measured(group, used=event.peak_bytes, ratio=ratio)

    def _take(self, group_id: int) -> Assignment | None:
        """Return a group that has left its device."""
        group = self._assignments.take(group_id)
        if group is not None:
            self._telemetry.group_left(group)
            self._notices.set_step(group.audits, None)
        return group

    def _without_results(self, event: GroupFailed | GroupAbandoned) -> None:
        group = self._take(event.group)
        if group is None:
            return
        with self._kept_if_unavailable(group):
            match event:
                case GroupFailed(failure=failure):
                    self._apply(self._setbacks.failed(group, failure))
                    if ran_out_of_memory(failure):
                        self._memory.ran_out(group.kind, group.key, lanes=len(group.actions))
                case GroupAbandoned():
                    self._apply(self._setbacks.interrupted(group))
                    self._shares.correct(group.charge, seconds=0)

    def _worker_ended(self, event: WorkerEnded) -> None:
        held = self._assignments.remove_worker(event.worker)
        self._on_workers(self._assignments.workers)
        with self._kept_if_unavailable(*held):
            for group in held:
                self._telemetry.group_left(group)
                if group.started and not self._draining:
                    self._apply(self._setbacks.worker_ended(group, event.death))
                else:
                    self._apply(self._setbacks.interrupted(group))
        if not self._draining:
            self._telemetry.worker_ended(event.device, event.death)
        self._memory.remove_worker(event.worker)
        self._telemetry.worker_gone(event.worker, event.device)

    @contextmanager
    def _kept_if_unavailable(self, *groups: Assignment) -> Iterator[None]:
        """Keep what ended while the database is away: the loop tells of it again."""
        try:
            yield
        except UnavailableError:
            for group in groups:
                self._assignments.restore(group)
            raise

    def _extend(self, worker: str) -> None:
        leases = [a.lease for group in self._assignments.held_by(worker) for a in group.actions]
        if leases:
            self.revoke(self._leases.extend(leases, lease_seconds=self._formation.lease_seconds))

    def _apply(self, changed: Changed) -> None:
        self._notices.publish(changed.audits)
        self._ended(changed.ended)
        self.carry_on(changed.settled)

    def _ended(self, ended: Cancelled) -> None:
        self._rounds.told(ended)
        self.revoke(ended.revoked)


def _bug(audit: str) -> InternalError:
    return InternalError(
        f"audit {audit}",
        expected="a plan or a report",
        found="an error of ours",
        remedy="Report this with the service's log.",
    )
