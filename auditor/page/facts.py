"""What is known about a report beside its content when a page of it is made."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from auditor.attest.assurance import Assurance, assurance_of
from auditor.attest.bundle import parse_bundle
from auditor.attest.review import VerifiedReview, verify_review
from auditor.attest.statement import Subject
from auditor.attest.trust import TrustFile
from auditor.attest.verify import (
    Check,
    ComparedSubject,
    Verification,
    read_statement,
    verify_bundle,
)
from auditor.report.schema import Report
from auditor.stagelog.digest import Digest, sha256


@dataclass(frozen=True, kw_only=True, slots=True)
class ReviewLine:
    """A review that verified, and what it was worth when the page was made."""

    who: str
    standing: str
    made: str
    expires: str | None
    conditions: tuple[str, ...]
    comment: str | None


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
        proven: When the signature existed by a time-stamp token, and who says so; None without one.
        assurance: What the maker of the page verified, which is not what the report calls itself.
        reviews: Reviews that the maker of the page verified.
    """

    report_id: Digest | None = None
    signer: str | None = None
    keyid: str | None = None
    subjects: tuple[Subject | ComparedSubject, ...] = ()
    checks: tuple[Check, ...] = ()
    made: str | None = None
    proven: str | None = None
    assurance: Assurance = "self_attested"
    reviews: tuple[ReviewLine, ...] = ()


def read_for_page(
    bundle: bytes, trust: TrustFile, *, now: datetime, reviews: Sequence[bytes] = ()
) -> tuple[Report, PageFacts]:
    """Return the report of a bundle, and what is known about its signature.

    Args:
        bundle: The signed file.
        trust: Keys that are trusted; a bundle signed by one of them must verify, of any other the
            page says that nothing vouches for it.
        now: When the page is made.
        reviews: Bundles of reviews, each of which must verify against the report.

    Raises:
        VerificationError: If it is no report bundle, or a trusted key's signature is wrong; with
            reviews also if no trusted key has signed the report, or one of them is not about it.
    """
    made = minute_of(now)
    parsed = parse_bundle(bundle)
    keyid = parsed.verification_material.public_key.hint
    if reviews or trust.find(keyid) is not None:
        verified = verify_bundle(bundle, trust, files={})
        found = [verify_review(review, trust, report=verified) for review in reviews]
        facts = replace(
            verified_facts(verified, made=made),
            assurance=assurance_of(found, now=now),
            reviews=tuple(_line(review, now=now) for review in found),
        )
        return verified.report, facts
    statement = read_statement(parsed.payload)
    facts = PageFacts(
        report_id=sha256(parsed.payload), keyid=keyid, subjects=statement.subjects, made=made
    )
    return statement.predicate, facts


def verified_facts(verification: Verification, *, made: str | None = None) -> PageFacts:
    """Return the facts of a report whose signature verified."""
    time = verification.time.proven
    return PageFacts(
        report_id=verification.report_id,
        signer=verification.key.name,
        keyid=verification.key.keyid,
        subjects=verification.subjects,
        checks=verification.checks,
        made=made,
        proven=None if time is None else f"{minute_of(time.moment)}, by {time.authority.name}",
    )


def _line(review: VerifiedReview, *, now: datetime) -> ReviewLine:
    return ReviewLine(
        who=review.told,
        standing=str(review.standing(now)),
        made=minute_of(review.made),
        expires=None if review.expires is None else minute_of(review.expires),
        conditions=review.review.conditions,
        comment=review.review.comment,
    )


def minute_of(moment: datetime) -> str:
    """Return an instant in UTC as people read it."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def assurance_words(report: Report, facts: PageFacts) -> str:
    """Return who vouches for the figures, and what the report calls itself where that is more."""
    earned = facts.assurance.replace("_", "-")
    if report.assurance in {facts.assurance, "self_attested"}:
        return earned
    return f"{earned} (the report calls itself {report.assurance.replace('_', '-')})"
