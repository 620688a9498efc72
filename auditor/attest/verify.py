"""Bundle and trust file in, report out; or the reason why not.

Nothing is read from the payload before its signature holds, and nothing but the verified payload
is read after. The order of the checks is :data:`CHECKS`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from auditor.attest.bundle import Bundle, parse_bundle
from auditor.attest.canonical import decode_base64, parse_canonical, read_record
from auditor.attest.envelope import verify_signature
from auditor.attest.keys import verifier_of
from auditor.attest.statement import STATEMENT_TYPE, Statement, Subject
from auditor.attest.subjects import ComparedSubject, compare_subjects
from auditor.attest.trust import KeyStatus, TrustedKey, TrustFile, parse_time
from auditor.errors import DocumentRefusedError, InputError, SignatureError, UndecidedError
from auditor.report.schema import PREDICATE_TYPE, REPAIR_PREDICATE_TYPE, Report
from auditor.stagelog.digest import Digest, sha256

CHECKS = (
    "form of the bundle",
    "types of bundle and payload",
    "key",
    "signature",
    "types of statement and predicate",
    "report",
    "signing time",
    "subjects",
)
"""What is checked, in this order; a check's number is its place, from 1."""

PREDICATE_TYPES = (PREDICATE_TYPE, REPAIR_PREDICATE_TYPE)
"""Predicate types that are accepted unless a caller names others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A check that passed."""

    number: int  #: Place in :data:`CHECKS`, from 1.
    name: str
    detail: str  #: What was found, for people.


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """A report that verified.

    Attributes:
        report: The signed report.
        report_id: SHA-256 of the signed payload.
        key: The trusted key that signed.
        subjects: Every signed subject, compared with the caller's file or not.
        checks: All checks, in order.
    """

    report: Report
    report_id: Digest
    key: TrustedKey
    subjects: tuple[ComparedSubject, ...]
    checks: tuple[Check, ...]


class _Progress:
    """Numbers the checks as they pass."""

    def __init__(self, on_check: Callable[[Check], None]) -> None:
        self.checks: list[Check] = []
        self._on_check = on_check

    def passed(self, detail: str) -> None:
        number = len(self.checks) + 1
        check = Check(number=number, name=CHECKS[number - 1], detail=detail)
        self.checks.append(check)
        self._on_check(check)


def verify_bundle(
    bundle: bytes,
    trust: TrustFile,
    *,
    files: Mapping[str, Digest],
    allow_missing: frozenset[str] = frozenset(),
    predicate_types: Sequence[str] = PREDICATE_TYPES,
    on_check: Callable[[Check], None] = lambda _: None,
) -> Verification:
    """Verify a signed report against the reader's own keys and files.

    Without ``files`` the subjects are listed as not compared. With any file, every subject must
    have a file of its name and digest or be named in ``allow_missing``, and every file must be a
    subject.

    Args:
        bundle: The bundle's bytes, exactly as issued.
        trust: The keys the reader trusts; no key is ever taken from the bundle.
        files: Digests of the reader's files by subject name.
        allow_missing: Subjects the reader does not have.
        predicate_types: The predicate types that are accepted.
        on_check: Called with every check as it passes, so that a failure shows how far it came.

    Raises:
        DocumentRefusedError: If bundle, statement or report are malformed or of another type.
        SignatureError: If the key is unknown or revoked, the signature is wrong, or the report is
            dated outside the key's validity.
        UndecidedError: If the key has a validity and the report does not say when it was signed.
        SubjectError: If a file differs from its subject, is no subject, or is missing.
    """
    progress = _Progress(on_check)

    parsed = parse_bundle(bundle)
    count = len(parsed.dsse_envelope.signatures)
    progress.passed(f"{len(bundle)} bytes of canonical JSON, {count} signature(s)")
    progress.passed(f"{parsed.media_type} with {parsed.dsse_envelope.payload_type}")

    key = _trusted_key(parsed, trust)
    progress.passed(f"{key.name} ({key.keyid[:16]}), {key.status} in the trust file")

    payload = _signed_payload(parsed, key)
    progress.passed(f"holds for {len(payload)} bytes" + _unchecked(parsed))

    statement = _statement(payload, predicate_types)
    progress.passed(f"{STATEMENT_TYPE} about {statement.predicate_type}")
    report = statement.predicate
    progress.passed(f"{report.schema_}, {len(report.effects)} effect(s)")

    progress.passed(_signing_time(report, key))
    subjects = compare_subjects(statement.subjects, files=files, allow_missing=allow_missing)
    progress.passed(", ".join(f"{subject.name}: {subject.outcome}" for subject in subjects))

    return Verification(
        report=report,
        report_id=sha256(payload),
        key=key,
        subjects=subjects,
        checks=tuple(progress.checks),
    )


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
    if key.status is KeyStatus.REVOKED:
        raise SignatureError(
            f"trust.keys[{hint[:16]}].status",
            expected="active or retired",
            found="revoked",
            remedy="Ask for the report to be signed again with a valid key.",
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


def _unchecked(bundle: Bundle) -> str:
    """Say what the bundle carries besides, so that nobody takes it for checked."""
    others = len(bundle.dsse_envelope.signatures) - 1
    timestamps = bundle.verification_material.timestamps
    tokens = 0 if timestamps is None else len(timestamps.rfc3161_timestamps)
    counted = ((others, "other signature(s)"), (tokens, "time-stamp token(s)"))
    notes = [f"{count} {what}" for count, what in counted if count]
    return f"; not checked: {', '.join(notes)}" if notes else ""


def _statement(payload: bytes, predicate_types: Sequence[str]) -> Statement:
    """Parse the verified payload; its types first, for the clearer message."""
    document = parse_canonical(payload, where="statement")
    for member, accepted in (("_type", (STATEMENT_TYPE,)), ("predicateType", predicate_types)):
        if document.get(member) not in accepted:
            raise DocumentRefusedError(
                f"statement.{member}",
                expected=" or ".join(accepted),
                found=document.get(member, "none"),
                remedy="This is signed, but it is no report of this kind.",
            )
    statement = read_record(Statement, payload, where="statement")
    if statement.predicate_type != statement.predicate.predicate_type:
        raise DocumentRefusedError(
            "statement.predicateType",
            expected=f"{statement.predicate.predicate_type}, which the predicate is",
            found=statement.predicate_type,
            remedy="Ask for the statement to be issued again.",
        )
    return statement


def _signing_time(report: Report, key: TrustedKey) -> str:
    """Compare the time the signer claims with the key's validity."""
    if key.not_before is None and key.not_after is None:
        return "the trust file sets no validity for the key"
    where = "report.run.created"
    if report.run is None:
        raise UndecidedError(
            where,
            expected="the time of signing, because the key has a validity",
            found="none",
            remedy="Ask for a dated report.",
        )
    try:
        moment = parse_time(report.run.created, where=where)
    except InputError as error:
        raise UndecidedError(
            where, expected=error.expected, found=error.found, remedy="Ask for a dated report."
        ) from error
    if not key.covers(moment):
        start = "ever" if key.not_before is None else key.not_before.isoformat()
        end = "ever" if key.not_after is None else key.not_after.isoformat()
        raise SignatureError(
            where,
            expected=f"a time from {start} until {end}, when the key was valid",
            found=moment.isoformat(),
            remedy="Ask for the report to be signed with a key valid at that time.",
        )
    return f"{moment.isoformat()}, as the signer says, lies in the key's validity"


__all__ = ["CHECKS", "Check", "ComparedSubject", "Subject", "Verification", "verify_bundle"]
