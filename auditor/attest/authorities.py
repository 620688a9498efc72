"""Time-stamping authorities a reader trusts: whose tokens prove when a signature existed."""

from datetime import datetime
from typing import Annotated, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from pydantic import AwareDatetime, Field, model_validator

from auditor.errors import InputError
from auditor.stagelog.record import Name, Record

DAY_SECONDS: Final = 86400


class TimestampAuthority(Record):
    """An authority of a trust file.

    Tokens must be signed with a time-stamping certificate of ``certificates``; if it holds none,
    with any that its root certificates vouch for.
    """

    name: Name
    certificates: Annotated[str, Field(max_length=65_536)]  # PEM: root, and what lies below it
    not_before: AwareDatetime | None = None
    not_after: AwareDatetime | None = None
    max_delay_seconds: Annotated[int, Field(ge=0, le=3650 * DAY_SECONDS)] = DAY_SECONDS
    """How much later than a document's own date a token may be, before the date counts as false."""
    url: Annotated[str, Field(max_length=2048)] | None = None  # where tokens are asked for

    @model_validator(mode="after")
    def _consistent(self) -> "TimestampAuthority":
        roots = [c for c in read_certificates(self.certificates) if c.issuer == c.subject]
        if not roots:
            raise ValueError("certificates: a root certificate in PEM is missing")
        if self.not_before and self.not_after and self.not_before >= self.not_after:
            raise ValueError("not_before must lie before not_after")
        return self

    def covers(self, moment: datetime) -> bool:
        """Say whether tokens of ``moment`` count: [not_before, not_after)."""
        after_start = self.not_before is None or moment >= self.not_before
        return after_start and (self.not_after is None or moment < self.not_after)

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """All certificates."""
        return read_certificates(self.certificates)


def read_certificates(pem: str) -> tuple[x509.Certificate, ...]:
    """Return the certificates of a PEM text.

    Raises:
        ValueError: If there is none, or one is malformed.
    """
    certificates = tuple(x509.load_pem_x509_certificates(pem.encode()))
    for certificate in certificates:
        may_stamp(certificate)  # reads all extensions
    return certificates


def may_stamp(certificate: x509.Certificate) -> bool:
    """Say whether a certificate is for signing time stamps.

    Raises:
        ValueError: If its extensions are malformed.
    """
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return False
    except (x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise ValueError(str(error)) from error
    return ExtendedKeyUsageOID.TIME_STAMPING in usage.value


def certificate_pem(pem: str, *, where: str) -> str:
    """Return the certificates of a text as PEM and nothing else: comments are left out.

    Raises:
        InputError: If there is none, or one is malformed.
    """
    try:
        certificates = read_certificates(pem)
    except ValueError as error:
        raise InputError(
            where,
            expected="certificates in PEM (BEGIN CERTIFICATE)",
            found=str(error).splitlines()[0],
            remedy="Get the authority's root certificate, and those below it, from its web page.",
        ) from error
    return "".join(c.public_bytes(Encoding.PEM).decode("ascii") for c in certificates)
