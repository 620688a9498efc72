"""Bundle and trust file in, signed payload out: whose signature holds, and since when, as proven.

Shared by everything that is signed here: reports and reviews. Nothing of the payload is read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from auditor.attest.bundle import Bundle, parse_bundle, token_place
from auditor.attest.canonical import decode_base64
from auditor.attest.envelope import verify_signature
from auditor.attest.keys import verifier_of
from auditor.attest.timestamp import ProvenTime, prove_time
from auditor.attest.trust import KeyStatus, TrustedKey, TrustFile
from auditor.errors import DocumentRefusedError, SignatureError


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """A payload whose signature holds.

    Attributes:
        payload: The signed bytes.
        key: The reader's key that signed them.
        proven: When the signature existed at the latest, by time-stamp tokens; None without.
    """

    payload: bytes
    key: TrustedKey
    proven: ProvenTime | None


def open_bundle(data: bytes, trust: TrustFile, *, passed: Callable[[str], None]) -> Opened:
    """Return the payload of a bundle that a key of the reader's has signed.

    Args:
        data: The bundle's bytes, exactly as issued.
        trust: The keys and authorities the reader trusts; none is ever taken from the bundle.
        passed: Told what was found after each check: form, types, key, signature, tokens.

    Raises:
        DocumentRefusedError: If the bundle or a token is malformed.
        SignatureError: If the key is unknown or revoked, or the signature or a token is wrong.
    """
    bundle = parse_bundle(data)
    count = len(bundle.dsse_envelope.signatures)
    passed(f"{len(data)} bytes of canonical JSON, {count} signature(s)")
    passed(f"{bundle.media_type} with {bundle.dsse_envelope.payload_type}")

    key = _trusted_key(bundle, trust)
    passed(f"{key.name} ({key.keyid[:16]}), {key.status} in the trust file")

    payload = _signed_payload(bundle, key)
    passed(f"holds for {len(payload)} bytes" + (f"; not checked: {count - 1} other signature(s)"
           if count > 1 else ""))  # fmt: skip

    proven = _proven(bundle, trust)
    passed(_told(bundle, proven))
    return Opened(payload=payload, key=key, proven=proven)


def _trusted_key(bundle: Bundle, trust: TrustFile) -> TrustedKey:
    """Find the key by its hint among the reader's own."""
    hint = bundle.verification_material.public_key.hint
    key = trust.find(hint)
    if key is None:
        raise SignatureError(
            "bundle.verificationMaterial.publicKey.hint",
            expected="a key of the trust file",
            found=f"{hint[:16]}, which is not in it",
            remedy="Get the signer's public key by a way you trust, then `stageaudit keys trust`.",
        )
    if key.status is KeyStatus.REVOKED and key.revoked_at is None:
        raise SignatureError(
            f"trust.keys[{hint[:16]}].status",
            expected="active or retired",
            found="revoked",
            remedy="Ask for the document to be signed again with a valid key.",
        )
    return key


def _signed_payload(bundle: Bundle, key: TrustedKey) -> bytes:
    """Verify the signature of the hinted key over the payload and return the payload."""
    envelope = bundle.dsse_envelope
    for index, signature in enumerate(envelope.signatures):
        decode_base64(signature.sig, where=f"bundle.dsseEnvelope.signatures[{index}].sig")
    payload = bundle.payload
    document: dict[str, Any] = envelope.model_dump(mode="json", by_alias=True)
    verified = verify_signature(document, verifier_of(key.public))
    if verified != payload:
        raise DocumentRefusedError(
            "bundle.dsseEnvelope.payload",
            expected="one reading of its base64",
            found="two",
            remedy="Pass the file exactly as it was issued.",
        )
    return verified


def _proven(bundle: Bundle, trust: TrustFile) -> ProvenTime | None:
    """Return the earliest time that a token proves.

    A reader who trusts authorities has every token checked: one that does not hold is an error, not
    a token less. A reader who trusts none has none checked.
    """
    tokens, authorities = bundle.tokens, trust.timestamp_authorities
    if not tokens or not authorities:
        return None
    times = [
        prove_time(
            token, bundle.signature, authorities=authorities, where=token_place(index)
        )
        for index, token in enumerate(tokens)
    ]  # fmt: skip
    return min(times, key=lambda time: time.moment)


def _told(bundle: Bundle, proven: ProvenTime | None) -> str:
    if proven is not None:
        return f"signed before {proven.moment.isoformat()}, says {proven.authority.name}"
    count = len(bundle.tokens)
    return (
        f"not checked: {count} token(s), because you trust no time-stamping authority"
        if count
        else "none: nothing but the signer's word says when it was signed"
    )
