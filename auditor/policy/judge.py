"""A policy on a report: every rule's findings, and the outcome that they come to."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never, final

from auditor.attest.assurance import assurance_of
from auditor.attest.review import VerifiedReview
from auditor.attest.trust import time_text
from auditor.attest.waiver import VerifiedWaiver
from auditor.errors import PolicyError
from auditor.policy.bounds import judge_effects, judge_value
from auditor.policy.facts import (
    judge_age,
    judge_consistency,
    judge_estimator,
    judge_model,
    judge_precision,
    judge_registration,
    judge_verdicts,
)
from auditor.policy.people import judge_reviews
from auditor.policy.released import as_released
from auditor.policy.result import Finding, GateResult, Outcome, PolicyIdentity, worst
from auditor.policy.schema import (
    AgeRule,
    BoundModelRule,
    ConsistencyRule,
    EffectRule,
    EstimatorRule,
    Policy,
    PrecisionRule,
    RegisteredRule,
    ReviewsRule,
    Rule,
    ValueRule,
    VerdictRule,
)
from auditor.policy.waived import require_waivable, with_waiver
from auditor.report.schema import Report
from auditor.stagelog.digest import Digest, digest_of


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A verified report by its id, with its verified reviews and waivers."""

    report: Report
    id: Digest
    reviews: tuple[VerifiedReview, ...] = ()
    waivers: tuple[VerifiedWaiver, ...] = ()


def judge(policy: Policy, judged: Judged, *, baseline: Judged | None, now: datetime) -> GateResult:
    """Return what a policy says of a report.

    Args:
        policy: The rules.
        judged: The report, verified by the caller: a policy does not look at signatures.
        baseline: The report of what is compared with, such as the last release, verified too.
        now: The time at which ages are taken and duties begin, with a zone.

    Raises:
        PolicyError: If a rule names what the report does not have, or a waiver is none of these
            rules'.
        BaselineError: If a rule needs a baseline that is missing or cannot be compared with.
    """
    digest = digest_of(policy)
    require_waivable(policy, judged.waivers, digest=digest)
    case = _Case(
        report=as_released(judged.report),
        baseline=None if baseline is None else as_released(baseline.report),
        reviews=judged.reviews,
        policy_digest=digest,
        now=now,
    )
    findings = tuple(
        _with_duty(with_waiver(finding, judged.waivers, now=now), rule, policy=policy, now=now)
        for rule in policy.rules
        for finding in _some(rule, _findings(rule, case))
    )
    return GateResult(
        outcome=worst(finding.outcome for finding in findings),
        policy=PolicyIdentity(name=policy.name, digest=digest),
        report=judged.id,
        baseline=None if baseline is None else baseline.id,
        model="audited" if judged.report.repair is None else "repaired",
        assurance=assurance_of(judged.reviews, now=now),
        findings=findings,
        created=time_text(now),
    )


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class _Case:
    """What rules look at."""

    report: Report
    baseline: Report | None
    reviews: tuple[VerifiedReview, ...]
    policy_digest: Digest
    now: datetime


def _findings(rule: Rule, case: _Case) -> Iterator[Finding]:
    match rule:
        case EffectRule():
            return judge_effects(rule, case.report, case.baseline)
        case ValueRule():
            return judge_value(rule, case.report, case.baseline)
        case VerdictRule():
            return judge_verdicts(rule, case.report)
        case PrecisionRule():
            return judge_precision(rule, case.report)
        case ConsistencyRule():
            return judge_consistency(rule, case.report)
        case BoundModelRule():
            return judge_model(rule, case.report)
        case AgeRule():
            return judge_age(rule, case.report, now=case.now)
        case EstimatorRule():
            return judge_estimator(rule, case.report)
        case RegisteredRule():
            return judge_registration(rule, case.report, policy_digest=case.policy_digest)
        case ReviewsRule():
            return judge_reviews(rule, case.reviews, now=case.now)
        case _:
            assert_never(rule)


def _some(rule: Rule, findings: Iterator[Finding]) -> tuple[Finding, ...]:
    """Return a rule's findings, at least one: a rule that looked at nothing must not pass."""
    found = tuple(findings)
    if not found:
        raise PolicyError(
            f"rule {rule.name!r}",
            expected="something in the report that it is about",
            found="nothing",
            remedy="Audit what the rule is about, or take it out.",
        )
    return found


def _with_duty(finding: Finding, rule: Rule, *, policy: Policy, now: datetime) -> Finding:
    """Say who looks at what could not be decided, and until when."""
    if finding.outcome is not Outcome.INVESTIGATE:
        return finding
    duty = rule.duty or policy.duty
    due = now + timedelta(days=duty.days)
    return finding.model_copy(update={"owner": duty.owner, "due": time_text(due)})
