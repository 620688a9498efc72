"""RFC 3161: what an authority that the reader trusts says about when a signature existed.

A token stamps the bytes of the DSSE signature, as Sigstore's do. It proves that the signature is
not younger than its time; nothing proves that it is not older.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NoReturn

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from auditor.attest.authorities import TimestampAuthority, may_stamp
from auditor.attest.token_form import granted, in_its_form, names_its_algorithm
from auditor.errors import DocumentRefusedError, PreconditionError, SignatureError

RESPONSE_LIMIT_BYTES = 48 * 1024
"""Of an answer; in base64 it has its place in the bundle."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProvenTime:
    """A time at which a signature existed.

    Attributes:
        moment: When the authority stamped.
        accuracy: How far its clock may be off.
        authority: Whose word it is.
    """

    moment: datetime
    accuracy: timedelta
    authority: TimestampAuthority


def timestamp_query(signature: bytes) -> bytes:
    """Return a TimeStampReq in DER, with a random nonce, for a token over a signature."""
    builder = TimestampRequestBuilder().data(signature).hash_algorithm(HashAlgorithm.SHA256)
    return builder.nonce(nonce=True).cert_request(cert_request=True).build().as_bytes()


def granted_response(answer: bytes) -> bytes:
    """Return an authority's answer in the spelling that bundles hold.

    Raises:
        DocumentRefusedError: If it is no TimeStampResp.
        PreconditionError: If the authority refused.
    """
    response = _parse(answer, where="time-stamp answer")
    token = response.time_stamp_token()
    if response.status != 0 or not token:
        raise PreconditionError(
            "time-stamp answer",
            expected="a granted token",
            found=" ".join(response.status_string) or f"status {response.status}",
            remedy="Ask the authority, or another one.",
        )
    return granted(token)


def prove_time(
    answer: bytes, signature: bytes, *, authorities: Sequence[TimestampAuthority], where: str
) -> ProvenTime:
    """Return when an authority of the reader's saw the signature.

    Args:
        answer: A TimeStampResp in DER, as bundles hold it.
        signature: What must have been stamped.
        authorities: Those that the reader trusts; certificates in the answer prove nothing.
        where: What the answer is called in messages.

    Raises:
        DocumentRefusedError: If it is no TimeStampResp, or has another spelling of it.
        SignatureError: If no authority signed it over this signature, within its validity.
    """
    response = _parse(answer, where=where)
    try:
        for authority, leaf in _candidates(authorities):
            known = frozenset(c.public_bytes(Encoding.DER) for c in authority.chain)
            if not in_its_form(answer, response, known=known):
                continue
            signer = _verified(response, signature, authority=authority, leaf=leaf)
            if signer is not None and names_its_algorithm(response, signer):
                return _proven(response, authority, where=where)
    except (ValueError, OverflowError, x509.InvalidVersion, UnsupportedAlgorithm) as error:
        _refuse(where, error)
    raise SignatureError(
        where,
        expected="a time-stamp token over this signature, by a time-stamping authority of yours",
        found="none: altered, of another signature, or by an authority that you do not trust",
        remedy="Trust its authority with `stageaudit keys trust-tsa`, or get the file again.",
    )


def _candidates(
    authorities: Sequence[TimestampAuthority],
) -> Iterator[tuple[TimestampAuthority, x509.Certificate | None]]:
    """Yield what a token may be signed with: an authority's own certificates, or any it vouches."""
    for authority in authorities:
        leaves = [certificate for certificate in authority.chain if may_stamp(certificate)]
        for leaf in leaves or (None,):
            yield authority, leaf


def _verified(
    response: TimeStampResponse,
    signature: bytes,
    *,
    authority: TimestampAuthority,
    leaf: x509.Certificate | None,
) -> x509.Certificate | None:
    """Return the certificate that signed the token, if it holds by the authority's roots."""
    chain = authority.chain
    verifier = VerifierBuilder(
        tsa_certificate=leaf,
        roots=[certificate for certificate in chain if certificate.issuer == certificate.subject],
        intermediates=[c for c in chain if c.issuer != c.subject and c != leaf],
    ).build()
    try:
        verifier.verify_message(response, signature)
    except VerificationError:
        return None
    if leaf is not None:
        return leaf
    known = {certificate.public_bytes(Encoding.DER) for certificate in chain}
    embedded = response.signed_data.certificates - known
    return x509.load_der_x509_certificate(next(iter(embedded))) if embedded else None


def _proven(
    response: TimeStampResponse, authority: TimestampAuthority, *, where: str
) -> ProvenTime:
    info = response.tst_info
    if not authority.covers(info.gen_time):
        raise SignatureError(
            where,
            expected=f"a time at which {authority.name} is trusted",
            found=info.gen_time.isoformat(),
            remedy="Check the authority's entry in the trust file.",
        )
    stated = info.accuracy
    accuracy = timedelta()
    if stated is not None:
        accuracy = timedelta(
            seconds=stated.seconds or 0,
            milliseconds=stated.millis or 0,
            microseconds=stated.micros or 0,
        )
    return ProvenTime(moment=info.gen_time, accuracy=accuracy, authority=authority)


def _parse(answer: bytes, *, where: str) -> TimeStampResponse:
    if len(answer) > RESPONSE_LIMIT_BYTES:
        _refuse(where, ValueError(f"{len(answer)} bytes"))
    try:
        return decode_timestamp_response(answer)
    except ValueError as error:
        _refuse(where, error)


def _refuse(where: str, error: Exception) -> NoReturn:
    raise DocumentRefusedError(
        where,
        expected="an answer of a time-stamping authority (RFC 3161, DER)",
        found=str(error),
        remedy="Pass the file exactly as it was issued.",
    ) from error
