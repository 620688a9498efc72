"""A report verifies as issued, with the reader's key; anything else is a VerificationError."""

import base64
import json
from datetime import timedelta
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from auditor.attest.bundle import assemble, report_id
from auditor.attest.envelope import sign
from auditor.attest.keys import KeyAlgorithm, generate_key, load_signer
from auditor.attest.statement import build_statement
from auditor.attest.subjects import SubjectOutcome
from auditor.attest.trust import KeyStatus, TrustFile
from auditor.attest.verify import CHECKS, Check, verify_bundle
from auditor.errors import (
    DocumentRefusedError,
    SignatureError,
    SubjectError,
    UndecidedError,
    VerificationError,
)
from auditor.stagelog.digest import sha256
from tests.support.reports import (
    LOG_BYTES,
    MODEL_BYTES,
    SIGNED_AT,
    SUBJECTS,
    Signed,
    make_report,
    make_signed,
    make_trusted,
)

SIGNED = {algorithm: make_signed(algorithm=algorithm) for algorithm in KeyAlgorithm}
ONE = SIGNED[KeyAlgorithm.ED25519]
FILES = {"stagelog.json": sha256(LOG_BYTES), "model.safetensors": sha256(MODEL_BYTES)}
SECOND = timedelta(seconds=1)


def sign_statement(**changes: Any) -> Signed:
    """Sign a statement with members replaced, as an honest signer of other documents would."""
    statement = json.loads(build_statement(make_report(), SUBJECTS)) | changes
    return sign_payload(rfc8785.dumps(statement))


def sign_payload(payload: bytes) -> Signed:
    pair = generate_key()
    bundle = assemble(sign(payload, load_signer(pair.private_pem)), keyid=pair.keyid)
    return Signed(bundle=bundle, pair=pair, entry=make_trusted(pair))


@pytest.mark.parametrize("algorithm", list(KeyAlgorithm))
def test_report_verifies(algorithm: KeyAlgorithm) -> None:
    signed = SIGNED[algorithm]

    verification = verify_bundle(signed.bundle, signed.trust, files=FILES)

    assert verification.report == make_report()
    assert verification.report_id == report_id(signed.bundle)
    assert verification.key == signed.entry
    assert {subject.outcome for subject in verification.subjects} == {SubjectOutcome.MATCHES}


def test_checks_are_numbered_and_reported_as_they_pass() -> None:
    seen: list[Check] = []

    verification = verify_bundle(ONE.bundle, ONE.trust, files={}, on_check=seen.append)

    assert tuple(seen) == verification.checks
    assert [(check.number, check.name) for check in seen] == list(enumerate(CHECKS, start=1))


def test_failure_shows_which_checks_passed() -> None:
    seen: list[Check] = []

    with pytest.raises(SubjectError):
        verify_bundle(
            ONE.bundle, ONE.trust, files={"x": FILES["stagelog.json"]}, on_check=seen.append
        )

    assert [check.name for check in seen] == list(CHECKS[:-1])


@pytest.mark.parametrize("algorithm", list(KeyAlgorithm))
@given(data=st.data())
def test_any_flipped_byte_is_a_verification_error(
    algorithm: KeyAlgorithm, data: st.DataObject
) -> None:
    signed = SIGNED[algorithm]
    position = data.draw(st.integers(0, len(signed.bundle) - 1))
    mask = data.draw(st.integers(1, 255))
    flipped = bytearray(signed.bundle)
    flipped[position] ^= mask

    with pytest.raises(VerificationError):
        verify_bundle(bytes(flipped), signed.trust, files={})


def test_every_position_of_the_bundle_matters() -> None:
    accepted = []
    for position in range(len(ONE.bundle)):
        flipped = bytearray(ONE.bundle)
        flipped[position] ^= 1
        try:
            verify_bundle(bytes(flipped), ONE.trust, files={})
        except VerificationError:
            continue
        accepted.append(position)

    assert accepted == []


@given(st.integers(0, len(ONE.bundle) - 1))
def test_cut_bundle_is_refused(length: int) -> None:
    with pytest.raises(DocumentRefusedError):
        verify_bundle(ONE.bundle[:length], ONE.trust, files={})


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(DocumentRefusedError):
        verify_bundle(data, ONE.trust, files={})


def test_unknown_key_is_a_signature_error() -> None:
    with pytest.raises(SignatureError, match="stageaudit keys trust"):
        verify_bundle(ONE.bundle, TrustFile(), files={})


def test_key_is_never_taken_from_the_bundle() -> None:
    stranger = make_signed()
    renamed = json.loads(stranger.bundle)
    renamed["verificationMaterial"]["publicKey"]["hint"] = ONE.pair.keyid
    renamed["dsseEnvelope"]["signatures"][0]["keyid"] = ONE.pair.keyid

    with pytest.raises(SignatureError, match="signatures"):
        verify_bundle(rfc8785.dumps(renamed), ONE.trust, files={})


def test_hint_of_another_trusted_key_does_not_verify() -> None:
    other = make_signed()
    document = json.loads(ONE.bundle)
    document["verificationMaterial"]["publicKey"]["hint"] = other.pair.keyid
    both = TrustFile(keys=(ONE.entry, other.entry))

    with pytest.raises(SignatureError, match="signatures"):
        verify_bundle(rfc8785.dumps(document), both, files={})


def test_payload_of_another_report_does_not_verify() -> None:
    other = json.loads(make_signed(report=make_report(purpose="another")).bundle)
    document = json.loads(ONE.bundle)
    document["dsseEnvelope"]["payload"] = other["dsseEnvelope"]["payload"]

    with pytest.raises(SignatureError, match="signatures"):
        verify_bundle(rfc8785.dumps(document), ONE.trust, files={})


def test_second_spelling_of_the_same_signature_is_refused() -> None:
    document = json.loads(ONE.bundle)
    signature = document["dsseEnvelope"]["signatures"][0]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    spelled = signature["sig"]  # 64 bytes: four unused bits before the padding
    signature["sig"] = spelled[:-3] + alphabet[alphabet.index(spelled[-3]) + 1] + "=="
    assert base64.b64decode(signature["sig"]) == base64.b64decode(spelled)

    with pytest.raises(DocumentRefusedError, match="unused bits"):
        verify_bundle(rfc8785.dumps(document), ONE.trust, files={})


def test_further_signatures_are_not_claimed_to_be_checked() -> None:
    document = json.loads(ONE.bundle)
    document["dsseEnvelope"]["signatures"].append({"keyid": "0" * 64, "sig": "YQ=="})

    verification = verify_bundle(rfc8785.dumps(document), ONE.trust, files={})

    assert "not checked: 1 other signature(s)" in verification.checks[3].detail


def test_time_stamp_token_is_not_claimed_to_be_checked() -> None:
    envelope = json.loads(ONE.bundle)["dsseEnvelope"]
    bundle = assemble(envelope, keyid=ONE.pair.keyid, timestamps=(b"token",))

    verification = verify_bundle(bundle, ONE.trust, files={})

    assert verification.checks[4].detail.startswith("not checked: 1 token(s)")
    assert verification.time.proven is None


def test_revoked_key_is_refused_before_its_signature_is_looked_at() -> None:
    signed = make_signed(entry={"status": KeyStatus.REVOKED})

    with pytest.raises(SignatureError, match="found revoked"):
        verify_bundle(signed.bundle, signed.trust, files={})


def test_retired_key_verifies_what_it_signed_in_time() -> None:
    signed = make_signed(entry={"status": KeyStatus.RETIRED, "not_after": SIGNED_AT + SECOND})

    assert verify_bundle(signed.bundle, signed.trust, files={}).report == make_report()


@pytest.mark.parametrize(
    "entry",
    [{"not_before": SIGNED_AT + SECOND}, {"not_after": SIGNED_AT}],
    ids=["too_early", "too_late"],
)
def test_report_dated_outside_the_keys_validity_is_refused(entry: dict[str, Any]) -> None:
    signed = make_signed(entry=entry)

    with pytest.raises(SignatureError, match=r"report\.run\.created"):
        verify_bundle(signed.bundle, signed.trust, files={})


@pytest.mark.parametrize("created", [None, "", "yesterday", "2026-03-01T12:00:00"])
def test_undated_report_is_undecided_when_the_key_has_a_validity(created: str | None) -> None:
    run = make_report().run
    dated = None if created is None or run is None else run.model_copy(update={"created": created})
    signed = make_signed(report=make_report(run=dated), entry={"not_before": SIGNED_AT - SECOND})

    with pytest.raises(UndecidedError, match="Ask for a dated report"):
        verify_bundle(signed.bundle, signed.trust, files={})


def test_undated_report_verifies_when_the_key_has_no_validity() -> None:
    signed = make_signed(report=make_report(run=None))

    assert verify_bundle(signed.bundle, signed.trust, files={}).report.run is None


REFUSED_STATEMENTS = {
    "predicate_type": {"predicateType": "https://slsa.dev/provenance/v1"},
    "next_predicate_type": {"predicateType": "https://stageaudit.dev/attestation/report/v2"},
    "statement_type": {"_type": "https://in-toto.io/Statement/v0.1"},
    "no_subject": {"subject": []},
    "two_subjects_of_one_name": {
        "subject": [{"name": "a", "digest": {"sha256": "0" * 64}}] * 2,
    },
    "subject_with_other_digest": {"subject": [{"name": "a", "digest": {"sha1": "0" * 40}}]},
    "predicate_is_another_document": {"predicate": {}},
    "unknown_member": {"extra": 1},
}


@pytest.mark.parametrize("changes", REFUSED_STATEMENTS.values(), ids=REFUSED_STATEMENTS.keys())
def test_signed_statement_of_another_kind_is_refused(changes: dict[str, Any]) -> None:
    signed = sign_statement(**changes)

    with pytest.raises(DocumentRefusedError, match=r"^statement"):
        verify_bundle(signed.bundle, signed.trust, files={})


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"not json",
        b"[]",
        json.dumps(json.loads(build_statement(make_report(), SUBJECTS))).encode(),
    ],
    ids=["empty", "text", "array", "not_canonical"],
)
def test_signed_payload_in_another_form_is_refused(payload: bytes) -> None:
    signed = sign_payload(payload)

    with pytest.raises(DocumentRefusedError, match=r"^statement"):
        verify_bundle(signed.bundle, signed.trust, files={})


def test_expected_predicate_type_is_the_callers() -> None:
    with pytest.raises(DocumentRefusedError, match=r"statement\.predicateType"):
        verify_bundle(
            ONE.bundle, ONE.trust, files={}, predicate_types=("https://other.example/v1",)
        )


def test_signature_is_checked_before_the_payload_is_parsed() -> None:
    document = json.loads(ONE.bundle)
    document["dsseEnvelope"]["payload"] = base64.b64encode(b"not json").decode()

    with pytest.raises(SignatureError):
        verify_bundle(rfc8785.dumps(document), ONE.trust, files={})
