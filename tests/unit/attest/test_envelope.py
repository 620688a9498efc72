"""DSSE over bytes: only the caller's key counts, and arguments are left alone."""

import base64
import copy

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.signer import CryptoSigner, SSlibKey

from auditor.attest.envelope import PAYLOAD_TYPE, sign, verify_signature
from auditor.attest.keys import (
    KeyAlgorithm,
    generate_key,
    keyid_of,
    load_signer,
    public_pem_of,
    verifier_of,
)
from auditor.errors import InputError, InternalError, SignatureError
from tests.unit.attest.test_keys import FaultySigner

PAYLOAD = b'{"a":1}'


def test_signature_is_over_the_pre_authentication_encoding() -> None:
    pair = generate_key()

    document = sign(PAYLOAD, load_signer(pair.private_pem))

    # DSSE v1.0.2, protocol.md, "Signature definition", spelled out by hand.
    encoded = b"DSSEv1 28 application/vnd.in-toto+json 7 " + PAYLOAD
    signature = base64.b64decode(document["signatures"][0]["sig"])
    load_pem_public_key(pair.public_pem.encode()).verify(signature, encoded)  # type: ignore[union-attr, call-arg]
    assert document["payloadType"] == PAYLOAD_TYPE == "application/vnd.in-toto+json"


@pytest.mark.parametrize("algorithm", list(KeyAlgorithm))
def test_verify_signature_returns_the_payload(algorithm: KeyAlgorithm) -> None:
    pair = generate_key(algorithm=algorithm)
    document = sign(PAYLOAD, load_signer(pair.private_pem))
    before = copy.deepcopy(document)

    assert verify_signature(document, verifier_of(pair.public_pem)) == PAYLOAD
    assert document == before


def test_verify_signature_refuses_another_key() -> None:
    document = sign(PAYLOAD, load_signer(generate_key().private_pem))

    with pytest.raises(SignatureError, match="a valid signature by key"):
        verify_signature(document, verifier_of(generate_key().public_pem))


def test_verify_signature_refuses_another_key_under_the_same_name() -> None:
    pair = generate_key()
    document = sign(PAYLOAD, load_signer(pair.private_pem))
    stranger = verifier_of(generate_key().public_pem)
    stranger.keyid = pair.keyid

    with pytest.raises(SignatureError):
        verify_signature(document, stranger)


def test_verify_signature_refuses_another_payload() -> None:
    pair = generate_key()
    document = sign(PAYLOAD, load_signer(pair.private_pem))
    document["payload"] = base64.b64encode(b'{"a":2}').decode()

    with pytest.raises(SignatureError):
        verify_signature(document, verifier_of(pair.public_pem))


def test_verify_signature_refuses_another_payload_type_that_is_signed() -> None:
    pair = generate_key()
    signer = load_signer(pair.private_pem)
    other_type = "application/vnd.in-toto+yaml"
    encoded = f"DSSEv1 {len(other_type)} {other_type} {len(PAYLOAD)} ".encode() + PAYLOAD
    document = sign(PAYLOAD, signer) | {"payloadType": other_type}
    raw = bytes.fromhex(signer.sign(encoded).signature)
    document["signatures"][0]["sig"] = base64.b64encode(raw).decode()

    with pytest.raises(SignatureError, match="payloadType"):
        verify_signature(document, verifier_of(pair.public_pem))


def test_sign_refuses_to_issue_a_faulty_signature() -> None:
    private = Ed25519PrivateKey.generate()
    keyid = keyid_of(public_pem_of(CryptoSigner(private)))
    signer = FaultySigner(private, SSlibKey.from_crypto(private.public_key(), keyid=keyid))

    with pytest.raises(InternalError, match="Nothing was issued"):
        sign(PAYLOAD, signer)


def test_sign_refuses_a_key_with_another_name() -> None:
    private = Ed25519PrivateKey.generate()
    signer = CryptoSigner(private, SSlibKey.from_crypto(private.public_key(), keyid="mine"))

    with pytest.raises(InputError, match="found mine"):
        sign(PAYLOAD, signer)
