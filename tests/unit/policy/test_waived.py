"""Waivers: who may, of what, until when; the finding stays visible."""

import xml.etree.ElementTree as ET
from datetime import timedelta
from typing import Any

import pytest

from auditor.attest.keys import load_signer
from auditor.attest.trust import TrustFile
from auditor.attest.verify import verify_bundle
from auditor.attest.waiver import VerifiedWaiver, sign_waiver, verify_waiver
from auditor.errors import DocumentRefusedError, PolicyError, ReviewError
from auditor.policy.judge import Judged, judge
from auditor.policy.junit import junit_xml
from auditor.policy.markdown import markdown
from auditor.policy.result import GateResult, Outcome
from auditor.policy.schema import Policy
from auditor.report.review import Reviewer
from auditor.report.waiver import Waiver
from auditor.stagelog.digest import Digest, digest_of, sha256
from tests.support.reports import make_effect, make_report, make_signed
from tests.support.reviews import NOW, REVIEWED_AT, Person

TWO = make_report(
    effects=(make_effect(), make_effect(intervention="skip tune", stage="tune", value=0.3))
)
SIGNED = make_signed(report=TWO)
REPORT = verify_bundle(SIGNED.bundle, SIGNED.trust, files={})
GRACE = Person()
TRUST = TrustFile(keys=(SIGNED.entry, GRACE.entry(roles=("approver", "developer"))))
RULE = {"name": "no cue", "check": "effect", "query": "cue", "at_most": 0.1}


def make_policy(**changes: Any) -> Policy:
    duty = {"owner": "ml-platform", "days": 7}
    values = {"name": "release", "duty": duty, "waivers": ("approver",), "rules": (RULE,)}
    return Policy.model_validate(values | changes, strict=False)


def make_waiver(**changes: Any) -> Waiver:
    values: dict[str, Any] = {
        "by": Reviewer(name="Grace Hopper", role="approver", organisation="Model Risk Ltd"),
        "policy": digest_of(make_policy()),
        "rule": "no cue",
        "reason": "customers see no patches",
        "created": REVIEWED_AT.isoformat(),
        "expires": (NOW + timedelta(days=1)).isoformat(),
    }
    return Waiver(**(values | changes))


def verified(person: Person = GRACE, **changes: Any) -> VerifiedWaiver:
    return verify_waiver(signed(person, **changes), TRUST, report=REPORT)


def signed(person: Person = GRACE, report: Digest = REPORT.report_id, **changes: Any) -> bytes:
    signer = load_signer(person.pair.private_pem)
    return sign_waiver(make_waiver(**changes), report=report, signer=signer)


def gate(*waivers: VerifiedWaiver, policy: Policy | None = None) -> GateResult:
    judged = Judged(report=REPORT.report, id=REPORT.report_id, waivers=waivers)
    return judge(policy or make_policy(), judged, baseline=None, now=NOW)


def test_a_waived_rule_passes_and_says_who_answers_for_it() -> None:
    assert gate().outcome is Outcome.FAIL

    result = gate(verified())

    assert result.outcome is Outcome.PASS
    for finding in result.findings:
        assert finding.waived is not None
        assert finding.waived.outcome is Outcome.FAIL
        assert (finding.waived.by, finding.waived.role) == ("Grace Hopper", "approver")
        assert "waived by Grace Hopper, Model Risk Ltd, until" in finding.message
        assert finding.message.endswith("customers see no patches")


def test_a_waived_finding_stays_in_every_form_of_the_result() -> None:
    result = gate(verified())

    suite = ET.fromstring(junit_xml(result))  # noqa: S314 - our own
    texts = [text.text or "" for text in suite.iter("system-out")]
    assert len(texts) == 2
    assert all("customers see no patches" in text for text in texts)
    assert markdown(result).count("| waived |") == 2


def test_a_waiver_of_one_intervention_leaves_the_others() -> None:
    result = gate(verified(interventions=("skip tune",)))

    assert [finding.outcome for finding in result.findings] == [Outcome.FAIL, Outcome.PASS]


@pytest.mark.parametrize(
    "dates",
    [
        {"expires": NOW.isoformat()},
        {
            "created": (NOW + timedelta(hours=1)).isoformat(),
            "expires": (NOW + timedelta(days=9)).isoformat(),
        },
    ],
    ids=["expired", "dated ahead"],
)
def test_a_waiver_counts_in_its_time_only(dates: dict[str, str]) -> None:
    assert gate(verified(**dates)).outcome is Outcome.FAIL


@pytest.mark.parametrize(
    ("changes", "policy", "where"),
    [
        ({"policy": sha256(b"another policy")}, {}, "waiver.policy"),
        ({"policy": digest_of(make_policy(waivers=()))}, {"waivers": ()}, "waiver.by.role"),
        ({"rule": "no such rule"}, {}, "waiver.rule"),
        (
            {"by": Reviewer(name="G", role="developer", organisation="us")},
            {},
            "waiver.by.role",
        ),
    ],
)
def test_a_waiver_that_the_policy_does_not_know_is_refused(
    changes: dict[str, Any], policy: dict[str, Any], where: str
) -> None:
    with pytest.raises(PolicyError) as caught:
        gate(verified(**changes), policy=make_policy(**policy))

    assert caught.value.where == where


def test_a_key_that_is_bound_to_no_role_waives_nothing() -> None:
    anybody = Person()
    trust = TrustFile(keys=(SIGNED.entry, anybody.entry()))
    waiver = verify_waiver(signed(anybody), trust, report=REPORT)

    with pytest.raises(PolicyError, match="bound to no role"):
        gate(waiver)


def test_nobody_waives_by_another_key_for_what_they_signed() -> None:
    entry = SIGNED.entry.model_copy(update={"person": "Grace Hopper"})
    grace = GRACE.entry(roles=("approver",), person="Grace Hopper")
    own = verify_bundle(SIGNED.bundle, TrustFile(keys=(entry,)), files={})

    with pytest.raises(ReviewError, match="Grace Hopper, whose key"):
        verify_waiver(signed(), TrustFile(keys=(entry, grace)), report=own)


def test_nobody_waives_for_a_report_that_they_signed() -> None:
    own = signed(Person(SIGNED.pair))

    with pytest.raises(ReviewError, match="the key that signed the report"):
        verify_waiver(own, TRUST, report=REPORT)


def test_a_waiver_of_another_report_or_in_another_role_is_refused() -> None:
    with pytest.raises(ReviewError, match="another report"):
        verify_waiver(signed(report=sha256(b"other")), TRUST, report=REPORT)
    with pytest.raises(ReviewError, match="approver or developer"):
        verified(by=Reviewer(name="Grace Hopper", role="validator", organisation="us"))


def test_a_report_is_no_waiver() -> None:
    with pytest.raises(DocumentRefusedError, match="waiver/v1"):
        verify_waiver(SIGNED.bundle, TRUST, report=REPORT)
