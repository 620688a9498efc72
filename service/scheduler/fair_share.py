"""Start-time fair queueing of tenants: who is served next, by what each has been served.

Every tenant has a *finish tag*: the virtual time at which all that it was given so far would end if
it ran alone at its weight. What it asks for next starts at the later of that and the virtual time,
so that waiting brings no credit. The smallest start is served first, and the virtual time is the
start of what is being served. Tags live in memory: after a restart all begin level.

References:
    Goyal, Vin and Cheng (1996), Start-time Fair Queueing, doi 10.1145/248156.248171: over any
    interval in which two tenants always wait, what they are given per weight differs by at most
    l_1 / w_1 + l_2 / w_2, with l the largest single cost of each.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

DEFAULT_WEIGHT = 1.0

UNKNOWN_SECONDS = 1.0
"""What a group is charged of which nobody knows what it costs; corrected when it ends."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What tenants were charged for one group before its cost was known.

    Args:
        seconds: Device seconds by tenant.
        before: Virtual time before it was served.
        after: Virtual time since.
        tags: Finish tag of each tenant before and since.
    """

    seconds: Mapping[str, float]
    before: float
    after: float
    tags: Mapping[str, tuple[float, float]]


@final
class FairShare:
    """Start and finish tags of tenants, in device seconds per weight.

    Args:
        weights: By tenant; 1 for others.
    """

    def __init__(self, weights: Mapping[str, float] = MappingProxyType({})) -> None:
        self._weights = dict(weights)
        self._virtual = 0.0
        self._finish: dict[str, float] = {}

    def start_of(self, tenant: str) -> float:
        """Return the start tag of what the tenant waits for."""
        return max(self._virtual, self._finish.get(tenant, 0.0))

    def serve(self, tenants: Iterable[str], *, seconds: float | None) -> Charge:
        """Charge the tenants of a group's lanes, its head's first, with what it is going to cost.

        Args:
            tenants: One a lane.
            seconds: Expected device seconds of the whole group, None if nobody knows; lanes share
                them equally.
        """
        lanes = list(tenants)
        before = self._virtual
        self._virtual = max(before, self.start_of(lanes[0]))
        each = (UNKNOWN_SECONDS if seconds is None else seconds) / len(lanes)
        seconds_of = {tenant: count * each for tenant, count in Counter(lanes).items()}
        tags = {
            tenant: (
                self._finish.get(tenant, 0.0),
                self.start_of(tenant) + own / self._weight(tenant),
            )
            for tenant, own in seconds_of.items()
        }
        self._finish |= {tenant: tag for tenant, (_, tag) in tags.items()}
        return Charge(seconds=seconds_of, before=before, after=self._virtual, tags=tags)

    def correct(self, charge: Charge, *, seconds: float) -> None:
        """Replace what a group was expected to cost by what it did."""
        expected = sum(charge.seconds.values())
        for tenant, own in charge.seconds.items():
            part = own / expected if expected else 1 / len(charge.seconds)
            difference = part * seconds - own
            known = self._finish.get(tenant, self._virtual)
            self._finish[tenant] = known + difference / self._weight(tenant)

    def undo(self, charge: Charge) -> None:
        """A group was taken back before it began: nobody pays, and its time has not come.

        Of several groups the one that was charged last is undone first.
        """
        self._finish |= {tenant: self._finish_without(charge, tenant) for tenant in charge.seconds}
        self._virtual = self._virtual_without(charge)

    def start_without(self, charge: Charge) -> Callable[[str], float]:
        """Return start tags as :meth:`undo` would leave them, for as long as nothing changes."""
        virtual = self._virtual_without(charge)
        return lambda tenant: max(virtual, self._finish_without(charge, tenant))

    def level(self) -> None:
        """Nothing waits and nothing runs: whoever comes next starts level with everybody."""
        self._virtual = max((self._virtual, *self._finish.values()))
        self._finish.clear()

    def _virtual_without(self, charge: Charge) -> float:
        return charge.before if self._virtual == charge.after else self._virtual

    def _finish_without(self, charge: Charge, tenant: str) -> float:
        """Return a finish tag without a charge: the one before it, if it is the tenant's last."""
        known = self._finish.get(tenant, 0.0)
        before, since = charge.tags.get(tenant, (known, known))
        if known == since:
            return before
        return known - charge.seconds.get(tenant, 0.0) / self._weight(tenant)

    def _weight(self, tenant: str) -> float:
        return self._weights.get(tenant, DEFAULT_WEIGHT)
