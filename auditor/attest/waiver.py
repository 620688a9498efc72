"""Waivers: signed by a named person over a report's id, verified against that report.

Nobody waives for a report that their key, or another key of theirs, has signed.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from securesystemslib.signer import Signer

from auditor.attest.bundle import assemble
from auditor.attest.envelope import sign
from auditor.attest.personal import (
    Kind,
    moment_of,
    open_statement,
    require_other_signer,
    require_person,
    require_report,
    signed_at,
)
from auditor.attest.signing_time import CLOCK_SKEW
from auditor.attest.statement import WaiverStatement, build_waiver_statement
from auditor.attest.trust import TrustedKey, TrustFile
from auditor.attest.verify import Verification
from auditor.report.waiver import WAIVER_PREDICATE_TYPE, Waiver
from auditor.stagelog.digest import Digest, sha256

WAIVER: Final = Kind(predicate_type=WAIVER_PREDICATE_TYPE, name="waiver")


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifiedWaiver:
    """A waiver that verified.

    Attributes:
        waiver: What is waived, by whom and why.
        waiver_id: SHA-256 of the signed payload.
        key: The trusted key that signed.
        made: When it was signed: proven, or else claimed.
        expires: When it ceases to count.
    """

    waiver: Waiver
    waiver_id: Digest
    key: TrustedKey
    made: datetime
    expires: datetime

    def holds(self, now: datetime) -> bool:
        """Say whether it counts at ``now``."""
        return self.made <= now + CLOCK_SKEW and now < self.expires


def sign_waiver(waiver: Waiver, *, report: Digest, signer: Signer) -> bytes:
    """Return the signed bundle of a waiver.

    Args:
        waiver: What is waived.
        report: Id of the report that it is about.
        signer: The person's key.

    Raises:
        InternalError: If the new signature does not verify.
    """
    envelope = sign(build_waiver_statement(waiver, report), signer)
    return assemble(envelope, keyid=signer.public_key.keyid)


def verify_waiver(bundle: bytes, trust: TrustFile, *, report: Verification) -> VerifiedWaiver:
    """Verify a waiver of a report that has verified before.

    Args:
        bundle: The waiver's bytes, exactly as issued.
        trust: The keys and authorities the reader trusts.
        report: The report that it must be about.

    Raises:
        DocumentRefusedError: If it is malformed or no waiver.
        SignatureError: If key, signature, time-stamp token or time are not acceptable.
        ReviewError: If it is of another report, by somebody whom the trust file does not let do
            so, or by the report's own signer.
    """
    opened, statement = open_statement(bundle, trust, kind=WAIVER, statement=WaiverStatement)
    waiver = statement.predicate
    require_report(statement.subject, report=report, kind=WAIVER)
    require_person(waiver.by, opened.key, where="waiver.by")
    require_other_signer(waiver.by.role, opened.key, report=report)
    _, made = signed_at(waiver.created, opened, kind=WAIVER)
    return VerifiedWaiver(
        waiver=waiver,
        waiver_id=sha256(opened.payload),
        key=opened.key,
        made=made,
        expires=moment_of(waiver.expires, where="waiver.expires"),
    )
