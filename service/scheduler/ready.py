"""Ready actions, and what orders them.

They are served by the start tag of their tenant, then by aged priority, minute of the deadline,
height and age; :mod:`service.records.ready_work` has this in SQL. Priority orders the work of one
tenant and says nothing to others: whoever asks for more than its share waits for itself, and a
tenant that asks for little is next whatever others wait for. What most waits for comes first, so
that the trajectories of an audit arrive at a stage together and pass it in one group.
"""

import json
from dataclasses import dataclass

from auditor.stagelog.digest import Digest

DEADLINE_SECONDS = 60.0
"""Deadlines in the same minute are equal: audits asked for together differ by milliseconds, and
ordered by these their trajectories would pass one after the other instead of together."""

AGEING_SECONDS = 600.0
"""Waiting this long is worth one level of priority, so that nothing starves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadyAction:
    """What decides when a ready action runs, and with which others."""

    id: int
    tenant: str
    kind: str
    group_key: Digest
    priority: int  #: the highest of the live audits that want it
    deadline: float  #: the first of theirs
    height: int  #: actions that wait behind it, one behind the other
    ready_since: float
    max_lanes: int | None  #: largest group it may run in, after a larger one failed
    fixed_bytes: int = 0  #: predicted for its group, once
    lane_bytes: int = 0  #: predicted for each lane
    log: str = ""  #: its log, with which it shares what is fixed


def level_of(action: ReadyAction, *, now: float) -> float:
    """Return the priority of an action with what its waiting adds."""
    return action.priority + max(0.0, now - action.ready_since) // AGEING_SECONDS


def log_named(spec: str) -> str:
    """Return the log that an action's description names, nothing where it names none."""
    return str(json.loads(spec).get("log", ""))
