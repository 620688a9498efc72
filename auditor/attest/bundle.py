"""The Sigstore bundle v0.3 that carries a signed report, as canonical JSON.

It names the key only by ``publicKey.hint``; there are no Rekor entries. A time-stamp token of
RFC 3161 has its place in ``timestampVerificationData``.
"""

import base64
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, field_validator
from securesystemslib.signer import Signer

from auditor.attest.canonical import decode_base64, parse_canonical, read_record
from auditor.attest.envelope import PAYLOAD_TYPE, sign
from auditor.attest.statement import Subject, build_statement
from auditor.errors import DocumentRefusedError
from auditor.report.schema import Report
from auditor.stagelog.digest import DIGEST_PATTERN, Digest, canonical_bytes, sha256
from auditor.stagelog.record import Record

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
BUNDLE_LIMIT_BYTES = 16 * 2**20
SIGNATURE_LIMIT = 8

KeyIdField = Annotated[str, Field(pattern=DIGEST_PATTERN)]


class Signature(Record):
    """One signature over the envelope."""

    keyid: KeyIdField
    sig: Annotated[str, Field(min_length=1, max_length=1024)]


class DsseEnvelope(Record):
    """Payload and signatures, both in base64."""

    payload: str
    payload_type: Annotated[Literal["application/vnd.in-toto+json"], Field(alias="payloadType")]
    signatures: Annotated[tuple[Signature, ...], Field(min_length=1, max_length=SIGNATURE_LIMIT)]


class PublicKeyIdentifier(Record):
    """Which key signed: the reader looks it up among the keys they trust."""

    hint: KeyIdField


class Rfc3161Timestamp(Record):
    """A time-stamp token over the signature."""

    signed_timestamp: Annotated[str, Field(alias="signedTimestamp", max_length=65_536)]


class TimestampVerificationData(Record):
    """Proof of when the signature existed."""

    rfc3161_timestamps: Annotated[
        tuple[Rfc3161Timestamp, ...],
        Field(alias="rfc3161Timestamps", min_length=1, max_length=SIGNATURE_LIMIT),
    ]


class VerificationMaterial(Record):
    """What a reader needs besides the envelope."""

    public_key: Annotated[PublicKeyIdentifier, Field(alias="publicKey")]
    tlog_entries: Annotated[tuple[()], Field(alias="tlogEntries")]  # Rekor's; none
    timestamps: Annotated[
        TimestampVerificationData | None, Field(alias="timestampVerificationData")
    ] = None

    @field_validator("timestamps")  # not called where the member is absent
    @classmethod
    def _not_null(cls, value: TimestampVerificationData | None) -> TimestampVerificationData | None:
        """Refuse null: no tokens have one spelling, which is no member."""
        if value is None:
            raise ValueError("leave the member out where there are no tokens")
        return value


class Bundle(Record):
    """The file that is handed out."""

    media_type: Annotated[
        Literal["application/vnd.dev.sigstore.bundle.v0.3+json"], Field(alias="mediaType")
    ]
    verification_material: Annotated[VerificationMaterial, Field(alias="verificationMaterial")]
    dsse_envelope: Annotated[DsseEnvelope, Field(alias="dsseEnvelope")]

    @property
    def payload(self) -> bytes:
        """The signed bytes.

        Raises:
            DocumentRefusedError: If they are not base64 in its only spelling.
        """
        return decode_base64(self.dsse_envelope.payload, where="bundle.dsseEnvelope.payload")

    @property
    def signature(self) -> bytes:
        """The signature of the key that the bundle names: what time-stamp tokens are over.

        Raises:
            DocumentRefusedError: If there is none, or it is not base64 in its only spelling.
        """
        hint = self.verification_material.public_key.hint
        for index, entry in enumerate(self.dsse_envelope.signatures):
            if entry.keyid == hint:
                return decode_base64(
                    entry.sig, where=f"bundle.dsseEnvelope.signatures[{index}].sig"
                )
        raise DocumentRefusedError(
            "bundle.dsseEnvelope.signatures",
            expected=f"a signature by key {hint[:16]}, which the bundle names",
            found="none",
            remedy="Pass the file exactly as it was issued.",
        )

    @property
    def tokens(self) -> tuple[bytes, ...]:
        """The time-stamp tokens: RFC 3161 answers in DER, not checked.

        Raises:
            DocumentRefusedError: If one is not base64 in its only spelling.
        """
        material = self.verification_material.timestamps
        found = () if material is None else material.rfc3161_timestamps
        return tuple(
            decode_base64(entry.signed_timestamp, where=token_place(index))
            for index, entry in enumerate(found)
        )


def token_place(index: int) -> str:
    """Return what a time-stamp token is called in messages."""
    return f"bundle.verificationMaterial.timestampVerificationData.rfc3161Timestamps[{index}]"


def sign_report(report: Report, subjects: Sequence[Subject], signer: Signer) -> bytes:
    """Return the signed bundle of a finished report.

    Raises:
        InputError: If the subjects are empty or ambiguous, or a figure has no canonical form.
        InternalError: If the new signature does not verify.
        DocumentRefusedError: If the bundle would exceed the size that verifiers accept.
    """
    return assemble(sign(build_statement(report, subjects), signer), keyid=signer.public_key.keyid)


def assemble(envelope: dict[str, object], *, keyid: str, timestamps: Sequence[bytes] = ()) -> bytes:
    """Return the bundle bytes of a signed envelope.

    Args:
        envelope: What :func:`auditor.attest.envelope.sign` returned.
        keyid: Name of the key that signed.
        timestamps: RFC 3161 responses in DER over the signature, if there are any.

    Raises:
        DocumentRefusedError: If the bundle would exceed the size that verifiers accept.
    """
    material: dict[str, object] = {"publicKey": {"hint": keyid}, "tlogEntries": []}
    if timestamps:
        tokens = [base64.b64encode(token).decode("ascii") for token in timestamps]
        material["timestampVerificationData"] = {
            "rfc3161Timestamps": [{"signedTimestamp": token} for token in tokens]
        }
    data = canonical_bytes({
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": material,
        "dsseEnvelope": envelope,
    })
    _require_size(data)
    return data


def attach_token(data: bytes, answer: bytes) -> bytes:
    """Return a bundle with one more time-stamp token; neither is verified here.

    Args:
        data: The bundle.
        answer: A TimeStampResp over its signature, in DER.

    Raises:
        DocumentRefusedError: If ``data`` is no well-formed bundle, or has no room for the token.
    """
    bundle = parse_bundle(data)
    if len(bundle.tokens) == SIGNATURE_LIMIT:
        raise DocumentRefusedError(
            token_place(SIGNATURE_LIMIT),
            expected=f"at most {SIGNATURE_LIMIT} time-stamp tokens",
            found="one more",
            remedy="The bundle has tokens enough.",
        )
    stamped = assemble(
        bundle.dsse_envelope.model_dump(mode="json", by_alias=True),
        keyid=bundle.verification_material.public_key.hint,
        timestamps=(*bundle.tokens, answer),
    )
    parse_bundle(stamped)
    return stamped


def parse_bundle(data: bytes) -> Bundle:
    """Return the bundle, with its form checked and no signature checked.

    Raises:
        DocumentRefusedError: If it is too large, malformed, spelled in another way, of another
            media type, or has more than :data:`SIGNATURE_LIMIT` signatures.
    """
    _require_size(data)
    document = parse_canonical(data, where="bundle")
    if document.get("mediaType") != MEDIA_TYPE:
        raise DocumentRefusedError(
            "bundle.mediaType",
            expected=MEDIA_TYPE,
            found=document.get("mediaType", "none"),
            remedy="Pass a report bundle of Stage Auditor, a Sigstore bundle v0.3.",
        )
    bundle = read_record(Bundle, data, where="bundle")
    signers = [signature.keyid for signature in bundle.dsse_envelope.signatures]
    if len(set(signers)) != len(signers):
        raise DocumentRefusedError(
            "bundle.dsseEnvelope.signatures",
            expected="one signature a key",
            found="two of one key",
            remedy="Pass the file exactly as it was issued.",
        )
    return bundle


def report_id(data: bytes) -> Digest:
    """Return the report's id: the SHA-256 of the signed payload. Checks no signature.

    Raises:
        DocumentRefusedError: If ``data`` is no well-formed bundle.
    """
    return sha256(parse_bundle(data).payload)


def _require_size(data: bytes) -> None:
    if len(data) > BUNDLE_LIMIT_BYTES:
        raise DocumentRefusedError(
            "bundle",
            expected=f"at most {BUNDLE_LIMIT_BYTES} bytes",
            found=f"{len(data)} bytes",
            remedy="Keep per-example figures in the examples blob, not in the report.",
        )


__all__ = [
    "BUNDLE_LIMIT_BYTES", "MEDIA_TYPE", "PAYLOAD_TYPE", "SIGNATURE_LIMIT", "Bundle", "assemble",
    "attach_token", "parse_bundle", "report_id", "sign_report", "token_place",
]  # fmt: skip
