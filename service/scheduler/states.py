"""States of audits and actions and the moves between them: one table each."""

from collections.abc import Mapping
from enum import StrEnum


class AuditState(StrEnum):
    """Where an audit stands."""

    PLANNED = "PLANNED"
    RUNNING = "RUNNING"
    SIGNING = "SIGNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class ActionState(StrEnum):
    """Where an action stands; ``BLOCKED`` waits for the results that it reads."""

    BLOCKED = "BLOCKED"
    READY = "READY"
    LEASED = "LEASED"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


AUDIT_MOVES: Mapping[AuditState, frozenset[AuditState]] = {
    AuditState.PLANNED: frozenset({
        AuditState.RUNNING,
        AuditState.SIGNING,  # everything was cached
        AuditState.FAILED,
        AuditState.CANCELLED,
    }),
    AuditState.RUNNING: frozenset({AuditState.SIGNING, AuditState.FAILED, AuditState.CANCELLED}),
    AuditState.SIGNING: frozenset({AuditState.SUCCEEDED, AuditState.FAILED, AuditState.CANCELLED}),
    AuditState.SUCCEEDED: frozenset(),
    AuditState.FAILED: frozenset(),
    AuditState.CANCELLED: frozenset(),
}
"""Every legal move of an audit."""

ACTION_MOVES: Mapping[ActionState, frozenset[ActionState]] = {
    ActionState.BLOCKED: frozenset({ActionState.READY, ActionState.CANCELLED}),
    ActionState.READY: frozenset({
        ActionState.LEASED,
        ActionState.BLOCKED,  # a result that it reads is gone and computed again
        ActionState.CANCELLED,
    }),
    ActionState.LEASED: frozenset({
        ActionState.DONE,
        ActionState.READY,  # lease lost, retry, release
        ActionState.BLOCKED,  # a result that it reads turned out to be gone
        ActionState.FAILED,
        ActionState.CANCELLED,
    }),
    ActionState.DONE: frozenset({ActionState.READY, ActionState.BLOCKED}),  # its blob is gone
    # Wanted again by a new audit.
    ActionState.FAILED: frozenset({ActionState.READY, ActionState.BLOCKED}),
    ActionState.CANCELLED: frozenset({ActionState.READY, ActionState.BLOCKED}),
}
"""Every legal move of an action."""

LIVE_AUDITS = frozenset(state for state, moves in AUDIT_MOVES.items() if moves)
"""States of audits that still want their actions."""

PENDING_ACTIONS = frozenset(
    state for state, moves in ACTION_MOVES.items() if ActionState.CANCELLED in moves
)
"""States of actions that will still be computed unless they are cancelled."""


def sources_of(target: AuditState) -> frozenset[AuditState]:
    """Return the states from which an audit may move to ``target``."""
    return frozenset(state for state, moves in AUDIT_MOVES.items() if target in moves)
