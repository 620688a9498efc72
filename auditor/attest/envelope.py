"""DSSE: a signature over bytes and their type, knowing nothing of what the bytes mean.

What is signed is ``"DSSEv1 " len(type) " " type " " len(payload) " " payload`` (DSSE v1.0.2,
pre-authentication encoding).
"""

import copy
from typing import Any

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Signer, SSlibKey

from auditor.attest.keys import keyid_of, public_pem_of, verifier_of
from auditor.errors import InputError, InternalError, SignatureError

PAYLOAD_TYPE = "application/vnd.in-toto+json"


def sign(payload: bytes, signer: Signer) -> dict[str, Any]:
    """Return the envelope as a JSON object, verified with the signer's public key first.

    Raises:
        InputError: If the signer names its key by anything but the key's own digest.
        InternalError: If the new signature does not verify: a faulty key service or memory.
    """
    public_pem = public_pem_of(signer)
    if signer.public_key.keyid != keyid_of(public_pem):
        raise InputError(
            "signer.keyid",
            expected="the SHA-256 of the public key",
            found=signer.public_key.keyid,
            remedy="Load the key with auditor.attest.keys.load_signer.",
        )
    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    envelope.sign(signer)
    document: dict[str, Any] = envelope.to_dict()
    try:
        verify_signature(document, verifier_of(public_pem))
    except SignatureError as error:
        raise InternalError(
            "signer",
            expected="a signature that verifies with its own public key",
            found="one that does not",
            remedy="Nothing was issued; check the key service or the memory of this machine.",
        ) from error
    return document


def verify_signature(document: dict[str, Any], key: SSlibKey) -> bytes:
    """Return the payload if ``key`` signed it as in-toto JSON.

    Args:
        document: An envelope as parsed JSON whose shape was checked before.
        key: The verifier's own key; none is ever taken from the document.

    Raises:
        SignatureError: If the payload type is another one, or there is no valid signature by
            ``key``.
    """
    # from_dict consumes what it is given, hence the copy.
    envelope = Envelope.from_dict(copy.deepcopy(document))
    if envelope.payload_type != PAYLOAD_TYPE:  # Envelope.verify does not compare it
        raise SignatureError(
            "dsseEnvelope.payloadType",
            expected=PAYLOAD_TYPE,
            found=envelope.payload_type,
            remedy="This is a signature over another kind of document.",
        )
    try:
        envelope.verify([key], threshold=1)
    except UnverifiedSignatureError as error:
        raise SignatureError(
            "dsseEnvelope.signatures",
            expected=f"a valid signature by key {key.keyid[:16]}",
            found="none",
            remedy="The report was altered or signed by another key; get it again at its source.",
        ) from error
    payload: bytes = envelope.payload
    return payload
