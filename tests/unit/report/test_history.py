"""A report says which other audits of its log there were, with their ends."""

from typing import Any

from auditor.report.history import LISTED, LoggedAudit, Outcome, history_of
from auditor.stagelog.digest import sha256


def make_audit(number: int, outcome: Any) -> LoggedAudit:
    return LoggedAudit(
        number=number,
        id=f"audit-{number}",
        created="2026-03-01T12:00:00Z",
        outcome=outcome,
        request=sha256(b"request"),
    )


def test_every_end_is_counted() -> None:
    outcomes = ("failed", "cancelled", "succeeded", "this one", "under way", "cancelled")

    history = history_of(
        outcomes, listed=[make_audit(n, found) for n, found in enumerate(outcomes, start=1)]
    )

    assert (history.number, len(history.audits)) == (4, 6)
    assert (history.succeeded, history.failed, history.cancelled) == (1, 1, 2)
    assert history.under_way == 1
    assert history.statement == (
        "Audit 4 of this log at this service. Of the others 1 succeeded, 1 failed, 2 cancelled, "
        "1 under way when this was signed; audits elsewhere are not known here."
    )


def test_the_last_ones_are_listed_and_all_are_counted() -> None:
    outcomes: list[Outcome] = [*["failed"] * (LISTED + 49), "this one"]
    last = [make_audit(n, found) for n, found in enumerate(outcomes, start=1)][-LISTED:]

    history = history_of(outcomes, listed=last)

    assert (history.number, history.failed) == (LISTED + 50, LISTED + 49)
    assert len(history.audits) == LISTED
    assert history.audits[-1].outcome == "this one"
