"""The order in which ready actions are served."""

from dataclasses import dataclass

from auditor.stagelog.digest import Digest

AGEING_SECONDS = 600.0
"""Waiting this long is worth one level of priority, so that nothing starves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadyAction:
    """What decides when a ready action runs, and with which others."""

    id: int
    group_key: Digest
    priority: int  #: the highest of the live audits that want it
    deadline: float  #: the first of theirs
    height: int  #: actions that wait behind it, one behind the other
    ready_since: float
    max_lanes: int | None  #: largest group it may run in, after a larger one failed


def order(action: ReadyAction, now: float) -> tuple[float, float, int, int]:
    """Return the sort key: aged priority, deadline, height, age.

    What most waits for comes first. So the trajectories of an audit arrive at a stage together and
    pass it in one group.
    """
    waited = max(0.0, now - action.ready_since)
    level = action.priority + waited // AGEING_SECONDS
    return (-level, action.deadline, -action.height, action.id)
