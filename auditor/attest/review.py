"""Reviews: signed by a named person over a report's id, verified against that report.

A review counts for a role if a key of the reader's signed it, the trust file binds that key to
nobody else, and, for validators and approvers, it is another key than the report's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from securesystemslib.signer import Signer

from auditor.attest.bundle import assemble
from auditor.attest.canonical import parse_canonical, read_record
from auditor.attest.envelope import sign
from auditor.attest.signed import open_bundle
from auditor.attest.signing_time import CLOCK_SKEW, SigningTime, judge_time
from auditor.attest.statement import (
    REPORT_SUBJECT,
    ResourceDescriptor,
    ReviewStatement,
    build_review_statement,
)
from auditor.attest.trust import TrustedKey, TrustFile, parse_time
from auditor.attest.verify import Verification, require_types
from auditor.errors import DocumentRefusedError, InputError, ReviewError
from auditor.report.review import REVIEW_PREDICATE_TYPE, Review, Reviewer, ReviewRole
from auditor.stagelog.digest import Digest, sha256

INDEPENDENT: Final[frozenset[ReviewRole]] = frozenset({"validator", "approver"})
"""Roles in which nobody may review what they signed themselves."""


class Standing(StrEnum):
    """What a review is worth at a time."""

    APPROVES = "approves"
    CONDITIONAL = "approves under conditions"
    REJECTS = "rejects"
    EXPIRED = "has expired"
    AHEAD = "is dated ahead"


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifiedReview:
    """A review that verified.

    Attributes:
        review: The signed decision.
        review_id: SHA-256 of the signed payload.
        key: The trusted key that signed.
        time: When it was signed, as claimed and as proven.
        made: The time that counts.
        expires: When it ceases to count; None: never.
    """

    review: Review
    review_id: Digest
    key: TrustedKey
    time: SigningTime
    made: datetime
    expires: datetime | None

    def standing(self, now: datetime) -> Standing:
        """Return what the review is worth at ``now``."""
        if self.made > now + CLOCK_SKEW:
            return Standing.AHEAD
        if self.expires is not None and now >= self.expires:
            return Standing.EXPIRED
        return {
            "approve": Standing.APPROVES,
            "conditional": Standing.CONDITIONAL,
            "reject": Standing.REJECTS,
        }[self.review.decision]

    @property
    def told(self) -> str:
        """Who reviewed, in one line; what the trust file does not vouch for is said."""
        who = self.review.reviewer
        bound = "" if self.key.roles else "; your trust file binds the key to no role"
        return f"{who.role} {who.name}, {who.organisation} (key {self.key.name}{bound})"


def sign_review(review: Review, *, report: Digest, signer: Signer) -> bytes:
    """Return the signed bundle of a review.

    Args:
        review: The decision.
        report: Id of the report that it is about.
        signer: The reviewer's key.

    Raises:
        InternalError: If the new signature does not verify.
    """
    envelope = sign(build_review_statement(review, report), signer)
    return assemble(envelope, keyid=signer.public_key.keyid)


def verify_review(bundle: bytes, trust: TrustFile, *, report: Verification) -> VerifiedReview:
    """Verify a review of a report that has verified before.

    Args:
        bundle: The review's bytes, exactly as issued.
        trust: The keys and authorities the reader trusts.
        report: The report that it must be about.

    Raises:
        DocumentRefusedError: If it is malformed or no review.
        SignatureError: If key, signature, time-stamp token or time are not acceptable.
        ReviewError: If it is of another report, by somebody whom the trust file does not let
            review so, or by the report's own signer.
    """
    opened = open_bundle(bundle, trust, passed=lambda _: None)
    document = parse_canonical(opened.payload, where="review")
    require_types(document, (REVIEW_PREDICATE_TYPE,))
    statement = read_record(ReviewStatement, opened.payload, where="review")
    review = statement.predicate
    require_report(statement.subject, report=report, where="review")
    require_person(review.reviewer, opened.key, where="review.reviewer")
    require_independent(review.reviewer.role, opened.key.keyid, report=report)
    created = moment_of(review.created, where="review.created")
    time = judge_time(review.created, where="review.created", key=opened.key, proven=opened.proven)
    return VerifiedReview(
        review=review,
        review_id=sha256(opened.payload),
        key=opened.key,
        time=time,
        made=created if opened.proven is None else opened.proven.moment,
        expires=None
        if review.expires is None
        else moment_of(review.expires, where="review.expires"),
    )


def require_independent(role: ReviewRole, keyid: str, *, report: Verification) -> None:
    """Refuse a validator's or approver's review by the key that signed the report.

    Raises:
        ReviewError: If it is that key.
    """
    if role in INDEPENDENT:
        require_other_key(role, keyid, report=report)


def require_other_key(role: ReviewRole, keyid: str, *, report: Verification) -> None:
    """Refuse what is signed by the key that signed the report.

    Raises:
        ReviewError: If it is that key.
    """
    if keyid == report.key.keyid:
        raise ReviewError(
            "key",
            expected=f"a key of the {role}'s own",
            found=f"the key that signed the report, {report.key.name}",
            remedy="Make one: `stageaudit keys init --folder DIR`.",
        )


def latest(reviews: Sequence[VerifiedReview]) -> tuple[VerifiedReview, ...]:
    """Return the last review of every key in every role: a later decision replaces an earlier."""
    last: dict[tuple[str, str], VerifiedReview] = {}
    for review in sorted(reviews, key=lambda review: review.made):
        last[review.key.keyid, review.review.reviewer.role] = review
    return tuple(last.values())


def require_reviews(
    reviews: Sequence[VerifiedReview], roles: Sequence[ReviewRole], *, now: datetime
) -> None:
    """Refuse a report that lacks an approval in one of the roles.

    Somebody in the role must approve without conditions, and nobody in it may reject.

    Args:
        reviews: Verified reviews of the report.
        roles: The roles that must approve.
        now: The time at which reviews must not have expired.

    Raises:
        ReviewError: For the first role that lacks one; says what there is instead.
    """
    for role in roles:
        given = [r for r in latest(reviews) if r.review.reviewer.role == role]
        standings = [review.standing(now) for review in given]
        if Standing.APPROVES in standings and Standing.REJECTS not in standings:
            continue
        found = "; ".join(
            f"{review.review.reviewer.name} {standing}"
            for review, standing in zip(given, standings, strict=True)
        )
        raise ReviewError(
            f"review as {role}",
            expected="an approval without conditions that has not expired, and no rejection",
            found=found or "none",
            remedy=f"Have the report reviewed: `stageaudit review --role {role}`.",
        )


def require_report(
    subjects: Sequence[ResourceDescriptor], *, report: Verification, where: str
) -> None:
    """Refuse a statement whose one subject is not the report.

    Raises:
        ReviewError: If it is about another one.
    """
    (subject,) = subjects
    if subject.name != REPORT_SUBJECT or subject.digest.sha256 != report.report_id:
        raise ReviewError(
            f"{where}.subject",
            expected=f"the report {report.report_id}",
            found=subject.digest.sha256,
            remedy=f"This is a {where} of another report, or of another version of it.",
        )


def require_person(who: Reviewer, key: TrustedKey, *, where: str) -> None:
    """Refuse a person or a role that the trust file does not bind the key to.

    Raises:
        ReviewError: If the key is bound to somebody else, or to other roles.
    """
    if key.person is not None and key.person != who.name:
        raise ReviewError(
            f"{where}.name",
            expected=f"{key.person}, whose key {key.name} is",
            found=who.name,
            remedy="Ask for a statement under the person's own name.",
        )
    if key.roles and who.role not in key.roles:
        raise ReviewError(
            f"{where}.role",
            expected=f"{' or '.join(key.roles)}, as the trust file binds key {key.name}",
            found=who.role,
            remedy="Ask somebody in that role.",
        )


def moment_of(text: str, *, where: str) -> datetime:
    """Return a signed time.

    Raises:
        DocumentRefusedError: If it is none.
    """
    try:
        return parse_time(text, where=where)
    except InputError as error:
        raise DocumentRefusedError(
            where, expected=error.expected, found=error.found, remedy="Ask for it to be dated."
        ) from error
