import pytest

from service.scheduler.states import (
    ACTION_MOVES,
    AUDIT_MOVES,
    LIVE_AUDITS,
    PENDING_ACTIONS,
    ActionState,
    AuditState,
    sources_of,
)


def test_every_state_has_a_row() -> None:
    assert set(AUDIT_MOVES) == set(AuditState)
    assert set(ACTION_MOVES) == set(ActionState)


def test_three_states_are_final() -> None:
    final = {AuditState.SUCCEEDED, AuditState.FAILED, AuditState.CANCELLED}

    assert set(AuditState) - LIVE_AUDITS == final


@pytest.mark.parametrize("state", [AuditState.FAILED, AuditState.CANCELLED])
def test_every_live_audit_can_end_early(state: AuditState) -> None:
    assert sources_of(state) == LIVE_AUDITS


def test_only_signing_leads_to_success() -> None:
    assert sources_of(AuditState.SUCCEEDED) == {AuditState.SIGNING}


def test_what_is_finished_can_only_be_computed_again() -> None:
    again = {ActionState.READY, ActionState.BLOCKED}

    assert all(ACTION_MOVES[state] == again for state in set(ActionState) - PENDING_ACTIONS)
