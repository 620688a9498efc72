"""Tokens of an ``openssl ts`` authority prove when a report was signed, or are refused."""

import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from rfc3161_client import decode_timestamp_response

from auditor.attest.bundle import SIGNATURE_LIMIT, attach_token, parse_bundle
from auditor.attest.timestamp import (
    ProvenTime,
    granted_response,
    prove_time,
    timestamp_query,
)
from auditor.attest.trust import KeyStatus, TrustFile, trust_authority
from auditor.attest.verify import Verification, verify_bundle
from auditor.errors import (
    BackdatedError,
    DocumentRefusedError,
    PreconditionError,
    SignatureError,
    UndecidedError,
    VerificationError,
)
from auditor.report.schema import RunFacts
from tests.support.reports import SIGNED_AT, Signed, make_report, make_signed
from tests.support.timestamps import Authority, make_authority, openssl

pytestmark = pytest.mark.tool("openssl")

HOUR = timedelta(hours=1)
SIGNATURE = b"the bytes of a signature"


@pytest.fixture(scope="module")
def signed() -> Signed:
    return make_signed()


@pytest.fixture(scope="module")
def stamped(signed: Signed, authority: Authority) -> bytes:
    return authority.stamp(signed.bundle)


@pytest.fixture(scope="module")
def moment(signed: Signed, stamped: bytes, authority: Authority) -> Any:
    """When the report was stamped."""
    time = verify(stamped, authority.trust(signed)).time
    assert time.proven is not None
    return time.proven.moment


def verify(bundle: bytes, trust: TrustFile) -> Verification:
    return verify_bundle(bundle, trust, files={})


def with_key(signed: Signed, authority: Authority, **entry: Any) -> TrustFile:
    key = signed.entry.model_copy(update=entry)
    return TrustFile(keys=(key,), timestamp_authorities=(authority.entry(),))


def dated(created: str | None) -> Signed:
    run = None if created is None else RunFacts(created=created, id="run-1", mode="local")
    return make_signed(report=make_report(run=run))


def prove(answer: bytes, *, certificates: str, signature: bytes = SIGNATURE) -> ProvenTime:
    entry = trust_authority(certificates, name="authority")
    return prove_time(answer, signature, authorities=[entry], where="token")


def test_token_proves_when_a_report_was_signed(
    signed: Signed, stamped: bytes, authority: Authority
) -> None:
    verification = verify(stamped, authority.trust(signed))

    proven = verification.time.proven
    assert proven is not None
    assert proven.authority.name == "Clock & Sons"
    assert proven.accuracy == timedelta(seconds=1.5)
    assert verification.time.claimed == SIGNED_AT
    assert verification.time.moment == proven.moment > SIGNED_AT
    assert verification.report_id == verify(signed.bundle, signed.trust).report_id


def test_report_of_an_expired_key_verifies_with_a_token(
    signed: Signed, stamped: bytes, authority: Authority, moment: Any
) -> None:
    trust = with_key(signed, authority, not_before=moment - HOUR, not_after=moment + HOUR)

    assert verify(stamped, trust).time.moment == moment
    # Without the token its date counts, which lies before the key's.
    with pytest.raises(SignatureError, match=r"report\.run\.created"):
        verify(signed.bundle, trust)


def test_key_that_had_expired_at_the_proven_time_is_refused(
    signed: Signed, stamped: bytes, authority: Authority
) -> None:
    trust = with_key(signed, authority, not_after=SIGNED_AT + HOUR)

    assert verify(signed.bundle, trust).time.moment == SIGNED_AT
    with pytest.raises(SignatureError, match="when the key was valid"):
        verify(stamped, trust)


def test_back_dated_report_is_refused(signed: Signed, stamped: bytes, authority: Authority) -> None:
    with pytest.raises(BackdatedError, match=r"at most 1 day.* before the token"):
        verify(stamped, authority.trust(signed, max_delay_seconds=86400))


def test_report_dated_after_its_token_is_refused(authority: Authority) -> None:
    later = dated("2999-01-01T00:00:00Z")

    with pytest.raises(BackdatedError, match="Its date is false"):
        verify(authority.stamp(later.bundle), authority.trust(later))


def test_undated_report_has_the_time_of_its_token(authority: Authority) -> None:
    undated = dated(None)

    time = verify(authority.stamp(undated.bundle), authority.trust(undated)).time

    assert (time.claimed, time.proven is None) == (None, False)


def test_date_that_is_none_is_undecided_beside_a_token(authority: Authority) -> None:
    odd = dated("yesterday")

    with pytest.raises(UndecidedError, match="Ask for a dated report"):
        verify(authority.stamp(odd.bundle), authority.trust(odd))


def test_what_a_revoked_key_signed_before_counts_with_a_token(
    signed: Signed, stamped: bytes, authority: Authority, moment: Any
) -> None:
    revoked = {"status": KeyStatus.REVOKED}
    later = with_key(signed, authority, **revoked, revoked_at=moment + HOUR)

    assert verify(stamped, later).time.moment == moment
    with pytest.raises(SignatureError, match="when the key was revoked"):
        verify(signed.bundle, later)
    with pytest.raises(SignatureError, match="when the key was revoked"):
        verify(stamped, with_key(signed, authority, **revoked, revoked_at=moment))
    with pytest.raises(SignatureError, match="found revoked"):
        verify(stamped, with_key(signed, authority, **revoked))


def test_trust_file_can_want_a_token(signed: Signed, stamped: bytes, authority: Authority) -> None:
    trust = with_key(signed, authority, signing_time="proven")

    assert verify(stamped, trust).time.proven is not None
    with pytest.raises(UndecidedError, match="stageaudit timestamp"):
        verify(signed.bundle, trust)


def test_token_of_a_stranger_is_refused_by_whoever_trusts_authorities(
    signed: Signed, stamped: bytes, authority: Authority, tmp_path: Path
) -> None:
    other = make_authority(tmp_path)

    with pytest.raises(SignatureError, match="trust-tsa"):
        verify(stamped, other.trust(signed))
    with pytest.raises(SignatureError, match="trust-tsa"):
        verify(other.stamp(stamped), authority.trust(signed))
    assert verify(stamped, signed.trust).time.proven is None


def test_token_of_another_signature_is_refused(stamped: bytes, authority: Authority) -> None:
    other = make_signed()
    moved = attach_token(other.bundle, parse_bundle(stamped).tokens[0])

    with pytest.raises(SignatureError, match="of another signature"):
        verify(moved, authority.trust(other))


def test_authority_is_trusted_for_its_time(
    signed: Signed, stamped: bytes, authority: Authority, moment: Any
) -> None:
    with pytest.raises(SignatureError, match="at which Clock & Sons is trusted"):
        verify(stamped, authority.trust(signed, not_after=moment))
    with pytest.raises(SignatureError, match="at which Clock & Sons is trusted"):
        verify(stamped, authority.trust(signed, not_before=moment + HOUR))


@pytest.mark.parametrize("key", ["ec", "rsa"])
def test_every_byte_of_an_answer_matters(tmp_path: Path, key: str) -> None:
    keeper = make_authority(tmp_path, key=key)
    answer = granted_response(keeper.answer(timestamp_query(SIGNATURE)))
    accepted = []
    for position in range(len(answer)):
        flipped = bytearray(answer)
        flipped[position] ^= 1
        try:
            prove(bytes(flipped), certificates=keeper.root)
        except VerificationError:
            continue
        accepted.append(position)

    assert accepted == []
    for certificates in (keeper.root, keeper.chain):
        assert prove(answer, certificates=certificates).accuracy == timedelta(seconds=1.5)


def test_words_of_an_authority_are_left_out(authority: Authority) -> None:
    answer = granted_response(authority.answer(timestamp_query(SIGNATURE)))
    token = decode_timestamp_response(answer).time_stamp_token()
    words = b"\x0c\x0eOperation Okay"
    status = b"\x02\x01\x00\x30" + bytes([len(words)]) + words
    content = b"\x30" + bytes([len(status)]) + status + token
    talkative = b"\x30\x82" + len(content).to_bytes(2, "big") + content

    assert granted_response(talkative) == answer
    with pytest.raises(SignatureError):
        prove(talkative, certificates=authority.root)


@given(data=st.data())
def test_any_change_of_an_answer_is_a_verification_error(
    authority: Authority, stamped: bytes, data: st.DataObject
) -> None:
    bundle = parse_bundle(stamped)
    answer = bytearray(bundle.tokens[0])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(answer)))
        answer[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))

    if bytes(answer) != bundle.tokens[0]:
        with pytest.raises(VerificationError):
            prove(bytes(answer), certificates=authority.root, signature=bundle.signature)


def test_answer_without_certificates_needs_the_authoritys_own(
    authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "data").write_bytes(SIGNATURE)
    openssl("ts", "-query", "-data", tmp_path / "data", "-sha512", "-out", tmp_path / "q")
    answer = granted_response(authority.answer((tmp_path / "q").read_bytes()))

    assert prove(answer, certificates=authority.chain).moment
    with pytest.raises(SignatureError):
        prove(answer, certificates=authority.root)


def test_refusal_of_an_authority_is_told(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(SIGNATURE)
    openssl("ts", "-query", "-data", tmp_path / "data", "-sha1", "-out", tmp_path / "q")
    refusal = authority.answer((tmp_path / "q").read_bytes())

    with pytest.raises(PreconditionError, match="a granted token"):
        granted_response(refusal)
    with pytest.raises(DocumentRefusedError, match="Missing SignedData"):
        prove(refusal, certificates=authority.root)


@pytest.mark.parametrize(
    "answer", [b"", b"\x30\x00", b"x" * 60_000, bytes.fromhex("30053003020100")]
)
def test_what_is_no_token_is_refused(authority: Authority, answer: bytes) -> None:
    with pytest.raises(VerificationError):
        prove(answer, certificates=authority.root)


def test_bundle_has_room_for_eight_tokens(signed: Signed, stamped: bytes) -> None:
    token = parse_bundle(stamped).tokens[0]
    bundle = signed.bundle
    for _ in range(SIGNATURE_LIMIT):
        bundle = attach_token(bundle, token)

    with pytest.raises(DocumentRefusedError, match="tokens enough"):
        attach_token(bundle, token)


def test_token_in_another_spelling_of_base64_is_refused(
    signed: Signed, stamped: bytes, authority: Authority
) -> None:
    document = json.loads(stamped)
    (entry,) = document["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    spelled = entry["signedTimestamp"]
    entry["signedTimestamp"] = spelled[:4] + "\n" + spelled[4:]
    assert base64.b64decode(entry["signedTimestamp"]) == base64.b64decode(spelled)

    with pytest.raises(DocumentRefusedError, match=r"rfc3161Timestamps\[0\]"):
        verify(rfc8785.dumps(document), authority.trust(signed))
