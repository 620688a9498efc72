"""What is known about a report beside its content when a page of it is made."""

from dataclasses import dataclass

from auditor.attest.statement import Subject
from auditor.attest.verify import Check, ComparedSubject, Verification
from auditor.stagelog.digest import Digest


@dataclass(frozen=True, kw_only=True, slots=True)
class PageFacts:
    """What a page says of the signature, of the files and of itself.

    Attributes:
        report_id: SHA-256 of the signed payload; None for a report that no bundle holds.
        signer: Name of the trusted key whose signature verified; None when none did, so that
            nothing vouches for the content.
        keyid: Digest of that key, or of the one the bundle names.
        subjects: The files the report is about.
        checks: What was checked and passed.
        made: When the page was made, for people; None leaves it out.
    """

    report_id: Digest | None = None
    signer: str | None = None
    keyid: str | None = None
    subjects: tuple[Subject | ComparedSubject, ...] = ()
    checks: tuple[Check, ...] = ()
    made: str | None = None


def verified_facts(verification: Verification, *, made: str | None = None) -> PageFacts:
    """Return the facts of a report whose signature verified."""
    return PageFacts(
        report_id=verification.report_id,
        signer=verification.key.name,
        keyid=verification.key.keyid,
        subjects=verification.subjects,
        checks=verification.checks,
        made=made,
    )
