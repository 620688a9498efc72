"""The rule about reviews: who approves, how long ago, under which conditions."""

from datetime import timedelta
from typing import Any

import pytest

from auditor.attest.review import VerifiedReview, verify_review
from auditor.attest.trust import TrustFile
from auditor.attest.verify import verify_bundle
from auditor.policy.judge import Judged, judge
from auditor.policy.result import Outcome
from auditor.policy.schema import Duty, Policy, ReviewsRule
from tests.support.reports import SIGNED_AT, make_report, make_signed
from tests.support.reviews import NOW, Person, make_review

SIGNED = make_signed(report=make_report(assurance="third_party"))
REPORT = verify_bundle(SIGNED.bundle, SIGNED.trust, files={})
ADA, BOB = Person(), Person()
TRUST = TrustFile(keys=(SIGNED.entry, ADA.entry(roles=("validator",)), BOB.entry()))


def by(person: Person, **changes: Any) -> VerifiedReview:
    signed = person.sign(SIGNED.bundle, make_review(**changes))
    return verify_review(signed, TRUST, report=REPORT)


def outcome(*reviews: VerifiedReview, **rule: Any) -> tuple[Outcome, str, str]:
    checked = ReviewsRule(name="validated", check="reviews", role="validator", **rule)
    policy = Policy(name="release", duty=Duty(owner="risk", days=7), rules=(checked,))
    judged = Judged(report=REPORT.report, id=REPORT.report_id, reviews=reviews)
    result = judge(policy, judged, baseline=None, now=NOW)
    (finding,) = result.findings
    return finding.outcome, finding.message, result.assurance


CONDITIONAL = {"decision": "conditional", "conditions": ("more data",)}
CASES: dict[str, tuple[list[VerifiedReview], dict[str, Any], Outcome, str]] = {
    "approved": ([by(ADA)], {}, Outcome.PASS, "approves, 9 days ago"),
    "nobody": ([], {}, Outcome.FAIL, "no validator has reviewed"),
    "another role": ([by(BOB, role="approver")], {}, Outcome.FAIL, "no validator"),
    "fresh": ([by(ADA)], {"at_most_days": 9}, Outcome.PASS, "approves"),
    "stale": ([by(ADA)], {"at_most_days": 8.9}, Outcome.FAIL, "to be <= 8.9"),
    "expired": ([by(ADA, expires=NOW.isoformat())], {}, Outcome.FAIL, "has expired"),
    "rejected": ([by(ADA), by(BOB, decision="reject")], {}, Outcome.FAIL, "rejects"),
    "conditional": ([by(ADA, **CONDITIONAL)], {}, Outcome.INVESTIGATE, ": more data"),
    "conditions accepted": (
        [by(ADA, **CONDITIONAL)],
        {"conditions": "accept"},
        Outcome.PASS,
        "under conditions",
    ),
    "one without conditions": ([by(ADA, **CONDITIONAL), by(BOB)], {}, Outcome.PASS, "approves, "),
    "dated ahead": (
        [by(ADA, created=(NOW + timedelta(days=1)).isoformat())],
        {},
        Outcome.INVESTIGATE,
        "is dated ahead",
    ),
    "last of two": (
        [by(ADA), by(ADA, decision="reject", created=SIGNED_AT.isoformat())],
        {},
        Outcome.PASS,
        "approves",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("reviews", "rule", "expected", "said"), CASES.values(), ids=CASES.keys())
def test_reviews_are_judged(
    reviews: list[VerifiedReview], rule: dict[str, Any], expected: Outcome, said: str
) -> None:
    found, message, _ = outcome(*reviews, **rule)

    assert (found, said in message) == (expected, True), message


def test_assurance_of_a_gate_is_earned_and_not_claimed() -> None:
    assert outcome()[2] == "self_attested"
    assert outcome(by(ADA))[2] == "third_party"
    assert outcome(by(BOB))[2] == "self_attested"
