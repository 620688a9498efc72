"""Who vouches for a report: earned by what a reader verified, never by what its signer says."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from auditor.attest.review import Standing, VerifiedReview, latest

Assurance = Literal["self_attested", "third_party"]


def assurance_of(reviews: Sequence[VerifiedReview], *, now: datetime) -> Assurance:
    """Return what a report's reviews earn it.

    ``third_party``: somebody whom the trust file names as a validator approves it, with another key
    than the report's, and no such validator rejects it. Otherwise whoever computed the figures is
    the only one to vouch for them. ``reproduced`` is not given: nobody signs that by now.

    Args:
        reviews: Verified reviews of the report.
        now: The time at which they must not have expired.
    """
    standings = {
        review.standing(now)
        for review in latest(reviews)
        if review.review.reviewer.role == "validator" and "validator" in review.key.roles
    }
    approved = Standing.APPROVES in standings and Standing.REJECTS not in standings
    return "third_party" if approved else "self_attested"
