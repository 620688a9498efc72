"""Read a report from its bundle, and say whether anybody trusted here has signed it."""

from dataclasses import dataclass
from pathlib import Path

from auditor.attest.bundle import BUNDLE_LIMIT_BYTES, parse_bundle, report_id
from auditor.attest.trust import TrustFile
from auditor.attest.verify import read_statement, verify_bundle
from auditor.errors import InputError
from auditor.report.schema import Report
from auditor.stagelog.digest import Digest


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenedReport:
    """A report and what is known about its signature.

    Args:
        content: The report.
        bundle: The bytes it was read from.
        signer: Name of the trusted key whose signature verified; None when no trusted key signed,
            so that nothing vouches for the content.
    """

    content: Report
    bundle: bytes
    signer: str | None

    @property
    def id(self) -> Digest:
        """The report's id."""
        return report_id(self.bundle)

    @property
    def note(self) -> str:
        """One line about the signature."""
        if self.signer is not None:
            return f"report {self.id}, signature verified: {self.signer}"
        return (
            f"report {self.id}, signature NOT checked: its key is not in your trust file "
            "(`stageaudit keys trust PUB.pem --name NAME`)"
        )


def open_bundle(bundle: bytes, *, trust: TrustFile) -> OpenedReport:
    """Return the report of a bundle.

    Args:
        bundle: The signed file.
        trust: Keys the reader trusts; a bundle signed by one of them must verify.

    Returns:
        The report, with the signer's name when the signature was checked.

    Raises:
        VerificationError: If it is no report bundle, or a trusted key's signature is wrong.
    """
    parsed = parse_bundle(bundle)
    if trust.find(parsed.verification_material.public_key.hint) is None:
        statement = read_statement(parsed.payload)
        return OpenedReport(content=statement.predicate, bundle=bundle, signer=None)
    verification = verify_bundle(bundle, trust, files={}, allow_missing=frozenset())
    return OpenedReport(content=verification.report, bundle=bundle, signer=verification.key.name)


def read_bundle(path: Path) -> bytes:
    """Return a bundle file's bytes.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            # One byte more than is accepted, so that a larger file is refused and not cut.
            return file.read(BUNDLE_LIMIT_BYTES + 1)
    except OSError as error:
        raise InputError(
            str(path),
            expected="a report bundle",
            found=error.strerror,
            remedy="Pass the file that `stageaudit audit -o FILE` wrote.",
        ) from error


def user_trust() -> TrustFile:
    """Return the user's trust file, or one without keys where there is none yet."""
    from service.config import config_folder
    from service.keys import TRUST_FILE, trust_or_empty

    return trust_or_empty(config_folder() / TRUST_FILE)
