"""A report that holds its request holds the one that it names."""

import pytest

from auditor.attest.verify import verify_bundle
from auditor.effects import Better, Query, QueryKind
from auditor.errors import DocumentRefusedError
from auditor.plan.asked import plain_request
from auditor.plan.request import AuditRequest
from auditor.stagelog.digest import digest_of, sha256
from tests.support.reports import make_report, make_signed

REQUEST = AuditRequest(
    log=sha256(b"log"),
    interventions="stages",
    queries=(Query(name="cue", kind=QueryKind.LOSS, better=Better.LOWER, data=sha256(b"data")),),
    confidence=0.9,
)


def test_request_is_kept_as_what_its_digest_names() -> None:
    asked = plain_request(REQUEST)

    signed = make_signed(report=make_report(asked=asked, request=digest_of(REQUEST)))
    read = verify_bundle(signed.bundle, signed.trust, files={}).report

    assert read.asked is not None
    assert digest_of(read.asked) == read.request == digest_of(REQUEST)
    assert AuditRequest.model_validate(read.asked, strict=False) == REQUEST


def test_another_request_is_refused() -> None:
    forged = make_report().model_copy(update={"asked": plain_request(REQUEST)})

    signed = make_signed(report=forged)

    with pytest.raises(DocumentRefusedError) as caught:
        verify_bundle(signed.bundle, signed.trust, files={})
    assert "another request" in caught.value.found
