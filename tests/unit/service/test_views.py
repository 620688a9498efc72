"""Messages as JSON values for people and scripts."""

import json

from auditor.errors import NumericalError
from service.convert import from_timestamp, to_timestamp
from service.pb.v1 import audit_pb2
from service.status import status_of
from service.views import view


def test_audit_reads_like_words_and_numbers() -> None:
    message = audit_pb2.Audit(
        name="tenants/a/audits/x",
        state=audit_pb2.AUDIT_STATE_RUNNING,
        priority=audit_pb2.AUDIT_PRIORITY_GATE,
        progress=audit_pb2.AuditProgress(actions=10, done=3),
        create_time=to_timestamp(1_800_000_000.25),
    )

    plain = view(message)

    assert plain["state"] == "running"
    assert plain["priority"] == "gate"
    assert (plain["progress"]["actions"], plain["progress"]["running"]) == (10, 0)
    assert plain["create_time"] == "2027-01-15T08:00:00.250+00:00"
    assert "error" not in plain
    assert "report" not in plain
    assert json.loads(json.dumps(plain)) == plain


def test_error_of_an_audit_is_an_object() -> None:
    error = NumericalError("steps[3]", expected="finite", found="nan", remedy="Lower the lr.")

    plain = view(audit_pb2.Audit(error=status_of(error)))

    assert plain["error"] == {
        "code": "NUMERICAL_FAILURE",
        "where": "steps[3]",
        "expected": "finite",
        "found": "nan",
        "remedy": "Lower the lr.",
    }


def test_repeated_messages_are_lists() -> None:
    plan = audit_pb2.PlanAuditResponse(
        actions=[audit_pb2.PlannedAction(key="k", kind="advance", cached=True, needs=["a", "b"])]
    )

    (action,) = view(plan)["actions"]

    assert (action["cached"], action["needs"]) == (True, ["a", "b"])


def test_number_of_a_newer_service_is_shown_as_it_is() -> None:
    assert view(audit_pb2.Audit(state=77))["state"] == "77"  # type: ignore[arg-type]


def test_time_comes_back_to_the_microsecond() -> None:
    assert from_timestamp(to_timestamp(1_800_000_000.123457)) == 1_800_000_000.123457
