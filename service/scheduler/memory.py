"""How many lanes fit a device: predictions, corrected by what groups were measured to need.

Pure but for what it remembers; the scheduler's thread calls it, and any thread may read the budget.
"""

from collections import OrderedDict
from dataclasses import dataclass
from math import inf
from typing import final

from auditor.plan.room import FIRST_FACTOR, Needed, halved
from auditor.stagelog.digest import Digest
from service.scheduler.ready import ReadyAction

LEARNING = 0.3
"""Weight of the newest measurement."""
MAX_FACTORS = 4096
"""Group keys that are remembered; the one used longest ago is forgotten first."""
PATIENCE = 8
"""Groups of as many lanes as are allowed that must fit before twice as many are tried again."""
LARGEST_PATIENCE = 512
"""Patience doubles whenever twice as many did not fit after all, up to this."""


@dataclass(kw_only=True, slots=True)
class _Known:
    """What is known of a group key: measured over predicted, and what did not fit."""

    factor: float = FIRST_FACTOR
    most_lanes: int | None = None
    fitted: int = 0  #: groups of that many lanes that fitted since
    patience: int = PATIENCE
    grown: bool = False  #: it was raised and has not run out since


@final
class MemoryModel:
    """Budgets of workers, and a correction for every group key.

    The correction is an exponential moving average of measured over predicted bytes. It is never
    below 1: a device that needs less than predicted may have been measured by an allocator that
    reused memory.
    """

    def __init__(self) -> None:
        self._budgets: dict[str, int] = {}
        self._known: OrderedDict[tuple[str, Digest], _Known] = OrderedDict()

    def add_worker(self, worker: str, budget: int | None) -> None:
        """Note what a worker may use; None if it does not say."""
        if budget is not None:
            self._budgets[worker] = budget

    def remove_worker(self, worker: str) -> None:
        """Forget a worker that has ended."""
        self._budgets.pop(worker, None)

    @property
    def budget(self) -> int | None:
        """Bytes of the largest device; None while no worker has said."""
        return max(self._budgets.values(), default=None)

    def lanes(self, action: ReadyAction, *, worker: str) -> int | None:
        """Return how many lanes of an action's log fit a worker, at least 1; None: any number."""
        known = self._known.get((action.kind, action.group_key))
        most = None if known is None else known.most_lanes
        needed = Needed(fixed=action.fixed_bytes, lane=action.lane_bytes)
        fitting = needed.lanes_in(self.room(action, worker=worker))
        return min((own for own in (fitting, most) if own is not None), default=None)

    def room(self, action: ReadyAction, *, worker: str) -> float:
        """Return the uncorrected bytes that an action's group may need; infinite if not known."""
        budget = self._budgets.get(worker)
        factor = self._factor(action.kind, action.group_key)
        return inf if budget is None else budget / factor

    def predicted(self, kind: str, group_key: Digest, *, needed: Needed, lanes: int) -> float:
        """Return the corrected bytes of a group."""
        return self._factor(kind, group_key) * needed.of(lanes)

    def formed(self, kind: str, group_key: Digest, *, needed: Needed, most: int) -> tuple[int, int]:
        """Return the uncorrected bytes and the lanes of a group as the largest device runs it."""
        budget = self.budget
        room = inf if budget is None else budget / self._factor(kind, group_key)
        fitting = needed.lanes_in(room)
        lanes = most if fitting is None else min(most, fitting)
        return needed.of(lanes), lanes

    def learn(
        self, kind: str, group_key: Digest, *, needed: Needed, lanes: int, measured: int
    ) -> float | None:
        """Take what a group needed at most; return measured over predicted, None if unknown."""
        predicted = needed.of(lanes)
        if not predicted or not measured:
            return None
        ratio = measured / predicted
        known = self._remember(kind, group_key)
        known.factor = max(1.0, known.factor + LEARNING * (ratio - known.factor))
        return ratio

    def ran_out(self, kind: str, group_key: Digest, *, lanes: int) -> None:
        """Remember that so many lanes did not fit: the next group of the key has half of them."""
        known = self._remember(kind, group_key)
        if known.grown:
            known.patience = min(LARGEST_PATIENCE, 2 * known.patience)
        half = halved(lanes)
        known.most_lanes = half if known.most_lanes is None else min(half, known.most_lanes)
        known.fitted, known.grown = 0, False

    def fitted(self, kind: str, group_key: Digest, *, lanes: int) -> None:
        """Take note that so many lanes did fit: in time, twice as many are tried again.

        What ran out of memory may have been of another log, or beside other processes.
        """
        known = self._known.get((kind, group_key))
        if known is None or known.most_lanes is None or lanes < known.most_lanes:
            return
        known.fitted += 1
        if known.fitted >= known.patience:
            known.most_lanes *= 2
            known.fitted, known.grown = 0, True

    def _factor(self, kind: str, group_key: Digest) -> float:
        known = self._known.get((kind, group_key))
        return FIRST_FACTOR if known is None else known.factor

    def _remember(self, kind: str, group_key: Digest) -> _Known:
        known = self._known.setdefault((kind, group_key), _Known())
        self._known.move_to_end((kind, group_key))
        while len(self._known) > MAX_FACTORS:
            self._known.popitem(last=False)
        return known
