"""The one spelling of an RFC 3161 answer that is accepted around a time-stamp token.

A token signs what it says, not every byte it is written with: the status around it, versions, the
name of the signature algorithm and further certificates could be changed without a trace. Here each
of them has one accepted value, so that whatever byte is changed, the token is refused.
"""

from collections.abc import Iterator
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from rfc3161_client import TimeStampResponse

_SEQUENCE: Final = 0x30
_OCTETS: Final = 0x04
_GRANTED: Final = bytes.fromhex("3003020100")  # PKIStatusInfo {status 0}: no text, no failure
_SIGNED_DATA_VERSION: Final = 3  # RFC 5652, 5.1: the content is no plain data
_SIGNER_INFO_VERSION: Final = 1  # RFC 5652, 5.3: the signer is named by issuer and serial number

_DIGESTS: Final = {
    "2.16.840.1.101.3.4.2.1": (2, 0x0B),  # SHA-256
    "2.16.840.1.101.3.4.2.2": (3, 0x0C),  # SHA-384
    "2.16.840.1.101.3.4.2.3": (4, 0x0D),  # SHA-512
}
"""Last byte of ecdsa-with-SHA* and of sha*WithRSAEncryption, by the digest's object identifier."""


def granted(token: bytes) -> bytes:
    """Return the TimeStampResp around a TimeStampToken that says "granted" and nothing else."""
    return _element(_SEQUENCE, _GRANTED + token)


def in_its_form(answer: bytes, response: TimeStampResponse, *, known: frozenset[bytes]) -> bool:
    """Say whether an answer, before its signature is looked at, has the accepted spelling.

    Args:
        answer: The answer's bytes.
        response: The same, parsed.
        known: Certificates of the authority, DER; besides them, only the signer's may be in it.
    """
    token = response.time_stamp_token()
    signed = response.signed_data
    signers = list(signed.signer_infos)
    strangers = signed.certificates - known
    return (
        bool(token)
        and answer == granted(token)
        and signed.version == _SIGNED_DATA_VERSION
        and [signer.version for signer in signers] == [_SIGNER_INFO_VERSION]
        and len(strangers) <= 1
    )


def names_its_algorithm(response: TimeStampResponse, signer: x509.Certificate) -> bool:
    """Say whether the token ends with a signature of the algorithm that its signer's key has.

    Args:
        response: An answer whose signature holds.
        signer: The certificate that it was signed with.
    """
    token = response.time_stamp_token()
    return any(
        token.endswith(algorithm + _element(_OCTETS, token[start + len(algorithm) + header :]))
        for algorithm in _algorithms(response, signer)
        for start in [token.rfind(algorithm)]
        for header in (2, 3, 4)  # of an octet string: tag and length
        if start >= 0
    )


def _algorithms(response: TimeStampResponse, signer: x509.Certificate) -> Iterator[bytes]:
    """Yield the AlgorithmIdentifiers of the signer's key (RFC 5754, 3), DER."""
    digests = response.signed_data.digest_algorithms
    if len(digests) != 1:
        return
    digest = next(iter(digests)).dotted_string
    if digest not in _DIGESTS:
        return
    elliptic, rivest = _DIGESTS[digest]
    match signer.public_key():
        case ec.EllipticCurvePublicKey():
            yield bytes.fromhex("300a06082a8648ce3d0403") + bytes([elliptic])
        case rsa.RSAPublicKey():
            for last in (0x01, rivest):  # rsaEncryption, and with its digest: both are in use
                yield bytes.fromhex("300d06092a864886f70d0101") + bytes([last]) + b"\x05\x00"
        case _:
            return


def _element(tag: int, content: bytes) -> bytes:
    """Return a DER element: tag, length, content."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content
