"""The rule about people: somebody in a role has approved, and nobody in it rejects."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from auditor.attest.review import Standing, VerifiedReview, latest
from auditor.policy.facts import SECONDS_A_DAY
from auditor.policy.result import ORDER, Finding, Outcome
from auditor.policy.schema import ReviewsRule


def judge_reviews(
    rule: ReviewsRule, reviews: Sequence[VerifiedReview], *, now: datetime
) -> Iterator[Finding]:
    """Yield the finding about the reviews in the rule's role: the best of them, or a rejection.

    Args:
        rule: The rule.
        reviews: Verified reviews of the report.
        now: The time at which ages are taken.
    """
    judged = [
        _judged(rule, review, now=now)
        for review in latest(reviews)
        if review.review.reviewer.role == rule.role
    ]
    rejected = [text for standing, _, text in judged if standing is Standing.REJECTS]
    if rejected:
        yield _finding(rule, Outcome.FAIL, "; ".join(rejected))
    elif judged:
        _, outcome, text = min(judged, key=lambda found: ORDER.index(found[1]))
        yield _finding(rule, outcome, text)
    else:
        yield _finding(rule, Outcome.FAIL, f"no {rule.role} has reviewed the report")


def _judged(
    rule: ReviewsRule, review: VerifiedReview, *, now: datetime
) -> tuple[Standing, Outcome, str]:
    standing = review.standing(now)
    days = (now - review.made).total_seconds() / SECONDS_A_DAY
    text = f"{review.told} {standing}, {days:.3g} days ago"
    if standing in {Standing.APPROVES, Standing.CONDITIONAL}:
        if rule.at_most_days is not None and days > rule.at_most_days:
            return standing, Outcome.FAIL, f"{text}, to be <= {rule.at_most_days:.3g}"
        if standing is Standing.CONDITIONAL:
            text = f"{text}: {'; '.join(review.review.conditions)}"
            if rule.conditions == "investigate":
                return standing, Outcome.INVESTIGATE, text
        return standing, Outcome.PASS, text
    return standing, Outcome.INVESTIGATE if standing is Standing.AHEAD else Outcome.FAIL, text


def _finding(rule: ReviewsRule, outcome: Outcome, message: str) -> Finding:
    return Finding(rule=rule.name, check=rule.check, outcome=outcome, message=message)
