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
from auditor.attest.envelope import sign
from auditor.attest.personal import (
    Kind,
    moment_of,
    open_statement,
    require_other_key,
    require_other_signer,
    require_person,
    require_report,
    signed_at,
)
from auditor.attest.signing_time import CLOCK_SKEW, SigningTime
from auditor.attest.statement import ReviewStatement, build_review_statement
from auditor.attest.trust import TrustedKey, TrustFile
from auditor.attest.verify import Verification
from auditor.errors import ReviewError
from auditor.report.review import REVIEW_PREDICATE_TYPE, Review, ReviewRole
from auditor.stagelog.digest import Digest, sha256

REVIEW: Final = Kind(predicate_type=REVIEW_PREDICATE_TYPE, name="review")
INDEPENDENT: Final[frozenset[ReviewRole]] = frozenset({"validator", "approver"})
"""Roles in which nobody may review what a key of theirs has signed."""


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
    opened, statement = open_statement(bundle, trust, kind=REVIEW, statement=ReviewStatement)
    review = statement.predicate
    require_report(statement.subject, report=report, kind=REVIEW)
    require_person(review.reviewer, opened.key, where="review.reviewer")
    if review.reviewer.role in INDEPENDENT:
        require_other_signer(review.reviewer.role, opened.key, report=report)
    time, made = signed_at(review.created, opened, kind=REVIEW)
    return VerifiedReview(
        review=review,
        review_id=sha256(opened.payload),
        key=opened.key,
        time=time,
        made=made,
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
