"""Which groups to execute, so that actions run again where they ran before; no torch."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import final

from auditor.plan.actions import ActionKey, ActionSpec, dependencies
from auditor.plan.room import DEFAULT_MAX_LANES
from auditor.report.execution import Environment, ExecutedGroup, Executions
from auditor.stagelog.digest import Digest


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Regroup:
    """One group to execute.

    Attributes:
        specs: Its actions, in the order of their lanes.
        environment: Where it ran before; None where that is not known.
        whole: Whether these are exactly the lanes that ran before, from the first step to the last.
    """

    specs: tuple[ActionSpec, ...]
    environment: Environment | None = None
    whole: bool = False


@final
class Regrouping:
    """Recorded groups by the keys of their actions.

    Args:
        recorded: How the actions ran before; None knows nothing.
        group_key: What actions must share to run together.
        max_lanes: How many run together at most; None for the recorded groups.
    """

    def __init__(
        self,
        recorded: Executions | None,
        *,
        group_key: Callable[[ActionSpec], Digest],
        max_lanes: int | None,
    ) -> None:
        self._group_key, self._as_recorded = group_key, max_lanes is None
        self._max_lanes = max_lanes or DEFAULT_MAX_LANES
        self._environments = () if recorded is None else recorded.environments
        self._groups: dict[ActionKey, ExecutedGroup] = {
            ActionKey(key): group
            for group in (() if recorded is None else recorded.groups)
            for key in group.keys
        }

    def needed(
        self, wanted: Iterable[ActionKey], *, known: Mapping[ActionKey, ActionSpec]
    ) -> frozenset[ActionKey]:
        """Return what it takes to compute some actions: theirs, of their groups, and inputs of all.

        Args:
            wanted: Keys of ``known``.
            known: Every action of the plan.
        """
        needed: set[ActionKey] = set()
        waiting = list(wanted)
        while waiting:
            key = waiting.pop()
            if key in needed:
                continue
            needed.add(key)
            waiting += dependencies(known[key])
            group = self._groups.get(key)
            if group is not None and self._as_recorded:
                waiting += [ActionKey(own) for own in group.keys if own in known]
        return frozenset(needed)

    def next(
        self, waiting: Mapping[ActionKey, ActionSpec], *, done: Collection[ActionKey]
    ) -> Regroup:
        """Return the first group whose inputs are there.

        Args:
            waiting: At least one action, in the order of the plan; closed under dependencies
                together with ``done``.
            done: Finished actions.
        """
        ready = {
            key: spec
            for key, spec in waiting.items()
            if all(needed in done for needed in dependencies(spec))
        }
        recorded = dict.fromkeys(k for k in ready if self._as_recorded and k in self._groups)
        for key in recorded:
            found = self._recorded(self._groups[key], ready)
            if found is not None:
                return found
        # What is not recorded goes first: the others may be waiting for it.
        anew = [key for key in ready if key not in recorded] or list(ready)
        head = ready[anew[0]]
        alike = [ready[key] for key in anew if self._group_key(ready[key]) == self._group_key(head)]
        group = self._groups.get(anew[0])
        return Regroup(
            specs=tuple(alike[: self._max_lanes]),
            environment=None if group is None else self._environment(group),
        )

    def _recorded(
        self, group: ExecutedGroup, ready: Mapping[ActionKey, ActionSpec]
    ) -> Regroup | None:
        """Return a recorded group if all of it can start."""
        members = [ready.get(ActionKey(key)) for key in group.keys]
        specs = tuple(spec for spec in members if spec is not None)
        # A forged record must not make actions run together that cannot.
        if len(specs) < len(members) or len({self._group_key(spec) for spec in specs}) > 1:
            return None
        return Regroup(
            specs=specs,
            environment=self._environment(group),
            whole=group.in_one_go and group.lanes == len(group.keys),
        )

    def _environment(self, group: ExecutedGroup) -> Environment:
        return self._environments[group.environment]
