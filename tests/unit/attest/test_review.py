"""A review counts for one report, by a key of the reader's, in the roles that the key may have."""

import json
from datetime import timedelta
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from auditor.attest.assurance import assurance_of
from auditor.attest.bundle import assemble
from auditor.attest.envelope import sign
from auditor.attest.keys import load_signer
from auditor.attest.review import (
    Standing,
    VerifiedReview,
    require_reviews,
    verify_review,
)
from auditor.attest.statement import build_review_statement
from auditor.attest.trust import KeyStatus, TrustedKey, TrustFile
from auditor.attest.verify import verify_bundle
from auditor.errors import (
    DocumentRefusedError,
    ReviewError,
    SignatureError,
    VerificationError,
)
from auditor.stagelog.digest import sha256
from tests.support.reports import SIGNED_AT, make_report, make_signed
from tests.support.reviews import NOW, REVIEWED_AT, Person, make_review
from tests.support.timestamps import Authority

SIGNED = make_signed()
REPORT = verify_bundle(SIGNED.bundle, SIGNED.trust, files={})
ADA, BOB = Person(), Person()
REVIEW = ADA.sign(SIGNED.bundle)
DAY = timedelta(days=1)


def trust(*entries: TrustedKey) -> TrustFile:
    return TrustFile(keys=(SIGNED.entry, *(entries or (ADA.entry(), BOB.entry()))))


def verified(*bundles: bytes, keys: TrustFile | None = None) -> list[VerifiedReview]:
    return [verify_review(b, keys or trust(), report=REPORT) for b in bundles]


def by(person: Person, **changes: Any) -> bytes:
    return person.sign(SIGNED.bundle, make_review(**changes))


def test_review_verifies() -> None:
    (review,) = verified(REVIEW)

    assert review.review == make_review()
    assert review.made == REVIEWED_AT
    assert review.standing(NOW) is Standing.APPROVES
    assert "Ada Lovelace, Model Risk Ltd" in review.told
    assert "binds the key to no role" in review.told
    require_reviews([review], ["validator"], now=NOW)


def test_review_of_another_report_is_refused() -> None:
    other = ADA.sign(make_signed(report=make_report(purpose="another")).bundle)

    with pytest.raises(ReviewError, match="a review of another report"):
        verified(other)


def test_review_of_the_same_report_signed_anew_counts() -> None:
    again = make_signed()

    verify_review(ADA.sign(again.bundle), trust(), report=REPORT)


@pytest.mark.parametrize("role", ["validator", "approver"])
def test_signer_of_the_report_cannot_validate_it(role: str) -> None:
    signer = Person(SIGNED.pair)

    with pytest.raises(ReviewError, match="the key that signed the report"):
        verified(by(signer, role=role))


def test_signer_cannot_validate_by_another_key_of_theirs() -> None:
    ada = SIGNED.entry.model_copy(update={"person": "Ada Lovelace"})
    new = ADA.entry(person="Ada Lovelace", roles=("validator",))
    report = verify_bundle(SIGNED.bundle, TrustFile(keys=(ada,)), files={})

    with pytest.raises(ReviewError, match="Ada Lovelace, whose key"):
        verify_review(REVIEW, TrustFile(keys=(ada, new)), report=report)


def test_signer_of_the_report_may_speak_as_its_developer() -> None:
    (review,) = verified(by(Person(SIGNED.pair), role="developer"))

    assert review.review.reviewer.role == "developer"


def test_unknown_or_revoked_key_is_a_signature_error() -> None:
    with pytest.raises(SignatureError, match="keys trust"):
        verified(REVIEW, keys=SIGNED.trust)
    with pytest.raises(SignatureError, match="revoked"):
        verified(REVIEW, keys=trust(ADA.entry(status=KeyStatus.REVOKED)))


def test_review_outside_the_keys_validity_is_refused() -> None:
    with pytest.raises(SignatureError, match=r"review\.created"):
        verified(REVIEW, keys=trust(ADA.entry(not_after=REVIEWED_AT)))


def test_trust_file_binds_keys_to_people_and_roles() -> None:
    bound = trust(ADA.entry(person="Ada Lovelace", roles=("validator",)))

    assert "no role" not in verified(REVIEW, keys=bound)[0].told
    with pytest.raises(ReviewError, match="Ada Lovelace, whose key"):
        verified(by(ADA, name="Bob"), keys=bound)
    with pytest.raises(ReviewError, match="as the trust file binds"):
        verified(by(ADA, role="approver"), keys=bound)


@pytest.mark.parametrize(
    ("reviews", "found"),
    [
        ([], "found none"),
        ([by(ADA, role="developer")], "found none"),
        ([by(ADA, decision="reject")], "Ada Lovelace rejects"),
        ([by(ADA, decision="conditional", conditions=("more data",))], "under conditions"),
        ([by(ADA, expires=NOW.isoformat())], "has expired"),
        ([by(ADA, created=(NOW + DAY).isoformat())], "is dated ahead"),
        ([REVIEW, by(BOB, name="Bob", decision="reject")], "Bob rejects"),
    ],
    ids=["none", "role", "rejects", "conditional", "expired", "ahead", "one of two rejects"],
)
def test_required_review_must_approve(reviews: list[bytes], found: str) -> None:
    with pytest.raises(ReviewError, match=found):
        require_reviews(verified(*reviews), ["validator"], now=NOW)


def test_every_required_role_must_approve() -> None:
    both = verified(REVIEW, by(BOB, role="approver"))

    require_reviews(both, ["validator", "approver"], now=NOW)
    with pytest.raises(ReviewError, match="review as approver"):
        require_reviews(both[:1], ["validator", "approver"], now=NOW)


def test_later_decision_of_the_same_key_replaces_the_earlier() -> None:
    before = by(ADA, decision="reject", created=SIGNED_AT.isoformat())
    after = by(ADA, decision="reject", created=(REVIEWED_AT + DAY).isoformat())

    require_reviews(verified(REVIEW, before), ["validator"], now=NOW)
    with pytest.raises(ReviewError, match="rejects"):
        require_reviews(verified(REVIEW, after), ["validator"], now=NOW)


@pytest.mark.parametrize(
    ("entry", "changes", "assurance"),
    [
        ({"roles": ("validator",)}, {}, "third_party"),
        ({"roles": ("validator",)}, {"decision": "reject"}, "self_attested"),
        ({"roles": ("validator",)}, {"expires": NOW.isoformat()}, "self_attested"),
        ({"roles": ("developer",)}, {"role": "developer"}, "self_attested"),
        ({}, {}, "self_attested"),
    ],
    ids=["validator", "rejects", "expired", "developer", "role is not bound"],
)
def test_third_party_is_earned(
    entry: dict[str, Any], changes: dict[str, Any], assurance: str
) -> None:
    reviews = verified(by(ADA, **changes), keys=trust(ADA.entry(**entry)))

    assert assurance_of(reviews, now=NOW) == assurance


def test_a_claim_of_the_signer_earns_nothing() -> None:
    boasting = make_signed(report=make_report(assurance="third_party"))

    assert verify_bundle(boasting.bundle, boasting.trust, files={}).report.assurance
    assert assurance_of([], now=NOW) == "self_attested"


@pytest.mark.tool("openssl")
def test_token_dates_a_review(authority: Authority) -> None:
    keys = TrustFile(
        keys=(SIGNED.entry, ADA.entry()), timestamp_authorities=(authority.entry(),)
    )  # fmt: skip

    (review,) = verified(authority.stamp(REVIEW), keys=keys)

    assert review.time.proven is not None
    assert review.made == review.time.proven.moment != REVIEWED_AT


def signed_as_review(**changes: Any) -> bytes:
    statement = json.loads(build_review_statement(make_review(), REPORT.report_id)) | changes
    envelope = sign(rfc8785.dumps(statement), load_signer(ADA.pair.private_pem))
    return assemble(envelope, keyid=ADA.pair.keyid)


PREDICATE = make_review().model_dump(mode="json", by_alias=True, exclude_none=True)
REFUSED: dict[str, dict[str, Any]] = {
    "report_instead": {"predicateType": "https://stageaudit.dev/attestation/report/v1"},
    "next_version": {"predicateType": "https://stageaudit.dev/attestation/review/v2"},
    "no_subject": {"subject": []},
    "other_decision": {"predicate": PREDICATE | {"decision": "abstain"}},
    "other_role": {"predicate": PREDICATE | {"reviewer": {"name": "A", "role": "king"}}},
    "approved_with_conditions": {"predicate": PREDICATE | {"conditions": ["x"]}},
    "undated": {"predicate": PREDICATE | {"created": "yesterday"}},
    "expires_some_day": {"predicate": PREDICATE | {"expires": "some day"}},
    "unknown_member": {"predicate": PREDICATE | {"mood": "good"}},
}


@pytest.mark.parametrize("changes", REFUSED.values(), ids=REFUSED.keys())
def test_signed_statement_that_is_no_review_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(DocumentRefusedError, match=r"^(review|statement)"):
        verified(signed_as_review(**changes))


def test_subject_must_be_a_report_by_name() -> None:
    subject = [{"name": "model", "digest": {"sha256": REPORT.report_id}}]

    with pytest.raises(ReviewError):
        verified(signed_as_review(subject=subject))


def test_report_is_no_review_and_review_is_no_report() -> None:
    with pytest.raises(DocumentRefusedError, match="predicateType"):
        verified(SIGNED.bundle)
    with pytest.raises(DocumentRefusedError, match="predicateType"):
        verify_bundle(REVIEW, trust(), files={})


@given(st.integers(0, len(REVIEW) - 1), st.integers(1, 255))
def test_any_flipped_byte_is_a_verification_error(position: int, mask: int) -> None:
    flipped = bytearray(REVIEW)
    flipped[position] ^= mask

    with pytest.raises(VerificationError):
        verified(bytes(flipped))


def test_conditions_need_their_decision() -> None:
    with pytest.raises(ValidationError, match="conditions"):
        make_review(decision="conditional")


def test_review_names_the_report_by_its_id() -> None:
    assert sha256(build_review_statement(make_review(), REPORT.report_id)) == (
        verified(REVIEW)[0].review_id
    )
