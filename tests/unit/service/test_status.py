"""Errors survive the wire, stay small, and all have a row."""

from collections.abc import Iterator

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import (
    AuditorError,
    InternalError,
    PreconditionError,
    ResourceError,
    StageLogError,
    UnavailableError,
)
from auditor.stagelog.digest import sha256
from service.errors import MissingBlobsError, OffsetError, RequestIdReusedError
from service.status import CODES, STATUS_LIMIT_BYTES, code_of, error_of, status_of


def classes(kind: type[AuditorError]) -> Iterator[type[AuditorError]]:
    for subclass in kind.__subclasses__():
        if subclass.__module__.startswith(("auditor", "service")):
            yield subclass
            yield from classes(subclass)


def details_of(status: status_pb2.Status, kind: type) -> list:
    found = []
    for detail in status.details:
        if detail.Is(kind.DESCRIPTOR):
            message = kind()
            detail.Unpack(message)
            found.append(message)
    return found


def returned(error: AuditorError) -> AuditorError:
    return error_of(status_of(error), code=code_of(error), text=str(error))


def test_every_error_that_can_reach_the_wire_has_a_row() -> None:
    ours = [
        kind
        for kind in classes(AuditorError)
        if kind.__module__ == "auditor.errors" or kind.__module__.startswith("service.")
    ]

    assert len(ours) > 20
    assert [kind.__name__ for kind in ours if kind not in CODES] == []


def test_errors_of_other_modules_have_the_row_of_a_parent() -> None:
    parents = {
        kind.__name__: next(row for row in kind.__mro__ if row in CODES)
        for kind in classes(AuditorError)
    }

    assert [name for name, parent in parents.items() if parent is AuditorError] == []


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind, code in CODES.items()
        if kind.__init__ is AuditorError.__init__ and code is not grpc.StatusCode.INTERNAL
    ],
    ids=lambda kind: kind.__name__,
)
def test_error_is_raised_again_as_it_was(kind: type[AuditorError]) -> None:
    error = kind("stages[2].lr", expected="a number >= 0", found=-0.1, remedy="Check it.")

    again = returned(error)

    assert type(again) is kind
    assert (again.where, again.expected, again.found, again.remedy) == (
        "stages[2].lr", "a number >= 0", "-0.1", "Check it."
    )  # fmt: skip
    assert again.code == kind.code


def test_error_of_the_service_comes_back_as_its_parent_with_its_code() -> None:
    again = returned(MissingBlobsError("manifest", digests=[sha256(b"a")]))

    assert type(again) is PreconditionError
    assert again.code == "BLOBS_MISSING"


def test_offset_error_tells_where_to_go_on() -> None:
    again = returned(OffsetError("upload", committed_size=7, offset=9))

    assert isinstance(again, OffsetError)
    assert again.committed_size == 7


def test_resource_error_tells_how_long_to_wait() -> None:
    error = ResourceError("q", expected="room", found="none", remedy="Wait.", retry_after_seconds=2)

    again = returned(error)

    assert isinstance(again, ResourceError)
    assert again.retry_after_seconds == 2


def test_resource_error_without_retry_stays_without() -> None:
    error = ResourceError("q", expected="room", found="none", remedy="Ask for less.")

    assert details_of(status_of(error), error_details_pb2.RetryInfo) == []


def test_missing_blobs_are_listed_at_most_twenty() -> None:
    digests = [sha256(bytes([i])) for i in range(50)]

    status = status_of(MissingBlobsError("manifest", digests=digests), request_id="r" * 36)

    (failure,) = details_of(status, error_details_pb2.PreconditionFailure)
    assert [violation.subject for violation in failure.violations] == digests[:20]
    assert {violation.type for violation in failure.violations} == {"MISSING"}


def test_internal_error_tells_nothing_but_the_request_id() -> None:
    status = status_of(
        InternalError("secret place", expected="x", found="secret", remedy="y"), request_id="r-1"
    )

    (info,) = details_of(status, error_details_pb2.ErrorInfo)
    assert status.message == "internal error"
    assert dict(info.metadata) == {"request_id": "r-1"}
    assert b"secret" not in status.SerializeToString()


def test_field_violation_names_the_field() -> None:
    status = status_of(StageLogError("stages[0]", expected="a", found="b", remedy="c"))

    (bad,) = details_of(status, error_details_pb2.BadRequest)
    assert bad.field_violations[0].field == "stages[0]"


def test_status_of_another_program_becomes_an_error() -> None:
    error = error_of(None, code=grpc.StatusCode.UNAVAILABLE, text="connection refused")

    assert isinstance(error, UnavailableError)
    assert "connection refused" in error.found


def test_request_id_reuse_is_a_conflict() -> None:
    assert code_of(RequestIdReusedError("x")) is grpc.StatusCode.ALREADY_EXISTS


@given(where=st.text(max_size=3000), expected=st.text(max_size=3000), found=st.text(max_size=3000))
def test_status_stays_small_whatever_the_texts(where: str, expected: str, found: str) -> None:
    error = PreconditionError(where, expected=expected, found=found, remedy=where)

    status = status_of(error, request_id="r" * 64)

    assert status.ByteSize() < STATUS_LIMIT_BYTES
    assert details_of(status, error_details_pb2.ErrorInfo)
