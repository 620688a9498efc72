"""The file that is handed out: its form is checked before any signature."""

import json
from typing import Any

import pytest
import rfc8785

from auditor.attest.bundle import (
    BUNDLE_LIMIT_BYTES,
    MEDIA_TYPE,
    SIGNATURE_LIMIT,
    assemble,
    parse_bundle,
    report_id,
)
from auditor.attest.statement import build_statement
from auditor.errors import DocumentRefusedError
from auditor.stagelog.digest import sha256
from tests.support.reports import SUBJECTS, make_report, make_signed

SIGNED = make_signed()
PLAIN: dict[str, Any] = json.loads(SIGNED.bundle)
SIGNATURE = PLAIN["dsseEnvelope"]["signatures"][0]
KEYID = SIGNED.pair.keyid


def changed(**members: Any) -> bytes:
    """Return the bundle with members replaced by path, ``a__b`` for a.b; None removes one."""
    document = json.loads(SIGNED.bundle)
    for path, value in members.items():
        *parents, last = path.split("__")
        place = document
        for parent in parents:
            place = place[parent]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return rfc8785.dumps(document)


def with_tokens(tokens: Any) -> bytes:
    document = json.loads(SIGNED.bundle)
    document["verificationMaterial"]["timestampVerificationData"] = tokens
    return rfc8785.dumps(document)


REFUSED = {
    "too_large": b" " * (BUNDLE_LIMIT_BYTES + 1),
    "no_json": b"-----BEGIN PGP SIGNATURE-----",
    "reformatted": json.dumps(PLAIN, indent=2).encode(),
    "no_media_type": changed(mediaType=None),
    "version_0_2": changed(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.2"),
    "version_0_3_old_spelling": changed(
        mediaType="application/vnd.dev.sigstore.bundle+json;version=0.3"
    ),
    "payload_type": changed(dsseEnvelope__payloadType="application/json"),
    "no_payload_type": changed(dsseEnvelope__payloadType=None),
    "no_signature": changed(dsseEnvelope__signatures=[]),
    "nine_signatures": changed(
        dsseEnvelope__signatures=[
            {"keyid": f"{i:064x}", "sig": "YQ=="} for i in range(SIGNATURE_LIMIT + 1)
        ]
    ),
    "two_signatures_of_one_key": changed(dsseEnvelope__signatures=[SIGNATURE, SIGNATURE]),
    "keyid_not_hexadecimal": changed(dsseEnvelope__signatures=[SIGNATURE | {"keyid": "me"}]),
    "keyid_upper_case": changed(verificationMaterial__publicKey={"hint": KEYID.upper()}),
    "keyid_with_newline": changed(verificationMaterial__publicKey={"hint": KEYID + "\n"}),
    "no_hint": changed(verificationMaterial__publicKey={}),
    "certificate_instead": changed(
        verificationMaterial__publicKey=None, verificationMaterial__certificate={"rawBytes": "YQ=="}
    ),
    "rekor_entry": changed(verificationMaterial__tlogEntries=[{"logIndex": "1"}]),
    "tokens_null": with_tokens(None),
    "tokens_empty": with_tokens({"rfc3161Timestamps": []}),
    "tokens_many": with_tokens({"rfc3161Timestamps": [{"signedTimestamp": "YQ=="}] * 9}),
    "unknown_member": changed(extra=1),
    "message_signature": changed(messageSignature={}),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_parse_bundle_refuses(data: bytes) -> None:
    with pytest.raises(DocumentRefusedError, match=r"^bundle"):
        parse_bundle(data)


def test_parse_bundle_refuses_payload_that_is_not_base64() -> None:
    bundle = parse_bundle(changed(dsseEnvelope__payload="e30"))

    with pytest.raises(DocumentRefusedError, match=r"payload"):
        _ = bundle.payload


def test_bundle_names_media_type_and_key() -> None:
    assert PLAIN["mediaType"] == MEDIA_TYPE == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert PLAIN["verificationMaterial"] == {"publicKey": {"hint": KEYID}, "tlogEntries": []}
    assert SIGNATURE["keyid"] == KEYID


def test_bundle_is_canonical_and_ends_without_a_newline() -> None:
    assert rfc8785.dumps(PLAIN) == SIGNED.bundle


def test_report_id_is_the_digest_of_the_payload() -> None:
    assert report_id(SIGNED.bundle) == sha256(build_statement(make_report(), SUBJECTS))


def test_time_stamp_token_has_its_place() -> None:
    data = assemble(PLAIN["dsseEnvelope"], keyid=KEYID, timestamps=(b"token",))

    timestamps = parse_bundle(data).verification_material.timestamps

    assert timestamps is not None
    assert [token.signed_timestamp for token in timestamps.rfc3161_timestamps] == ["dG9rZW4="]


def test_assemble_refuses_what_verifiers_would() -> None:
    envelope = PLAIN["dsseEnvelope"] | {"payload": "A" * BUNDLE_LIMIT_BYTES}

    with pytest.raises(DocumentRefusedError, match=r"examples blob"):
        assemble(envelope, keyid=KEYID)
