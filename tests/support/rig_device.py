"""The device of a rig: runs what it is handed in order, block by block, as a worker would."""

from collections.abc import Callable
from typing import final

from auditor.plan.actions import ActionKey
from service.executors.base import GroupDone, GroupStarted
from service.records.jobs import LeasedAction
from tests.support.scheduler_rig import WORKER, Rig

LANE_SECONDS = 0.125
"""Throughput does not depend on the size of groups."""


@final
class RigDevice:
    """Runs groups one after the other; cancelled lanes stop at the next block.

    Args:
        rig: Its executor holds what was handed out.
        blocks: Of every group.
    """

    def __init__(self, rig: Rig, *, blocks: int = 1) -> None:
        self._rig = rig
        self._blocks = blocks
        self._taken = 0
        self.ran: list[tuple[LeasedAction, ...]] = []  #: lanes that ended, group by group
        self.blocks_of: dict[ActionKey, int] = {}  #: blocks that each key ran in its last group
        self.running: tuple[LeasedAction, ...] = ()

    def run(self, *, between: Callable[[], None] = lambda: None) -> bool:
        """Run the next group that is wanted to its end; False if there is none.

        Args:
            between: Called before every block.
        """
        group_id = -1
        while not self.running:
            if self._taken == len(self._rig.executor.submitted):
                return False
            _, group_id, group = self._rig.executor.submitted[self._taken]
            self._taken += 1
            self.running = self._wanted(group_id, group.actions)
            if not self.running:  # as a worker answers for a group of which nothing is wanted
                self._answer(group_id)
        self._rig.turn(GroupStarted(worker=WORKER, group=group_id))
        self.blocks_of |= dict.fromkeys((action.key for action in self.running), 0)
        for _ in range(self._blocks):
            between()
            self.running = self._wanted(group_id, self.running)
            for action in self.running:
                self.blocks_of[action.key] += 1
        self._rig.clock.advance(LANE_SECONDS * len(self.running))
        self.ran.append(self.running)
        self._answer(group_id)
        self.running = ()
        return True

    def _wanted(self, group_id: int, actions: tuple[LeasedAction, ...]) -> tuple[LeasedAction, ...]:
        cancelled = {
            key
            for _, number, keys in self._rig.executor.cancelled
            if number == group_id
            for key in keys
        }
        return tuple(action for action in actions if action.key not in cancelled)

    def _answer(self, group_id: int) -> None:
        results = tuple(self._rig.result_of(action) for action in self.running)
        self._rig.turn(
            GroupDone(
                worker=WORKER,
                group=group_id,
                results=results,
                compute_seconds=LANE_SECONDS * len(results),
            )
        )
