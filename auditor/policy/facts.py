"""Rules about what a report rests on: verdicts, precision, log, model, age, estimator, policy."""

from collections.abc import Iterator
from datetime import datetime

from auditor.attest.trust import parse_time
from auditor.effects import Better, Effect, Verdict
from auditor.policy.result import Finding, Outcome
from auditor.policy.rows import effects_asked, span_of, stages_of
from auditor.policy.schema import (
    AgeRule,
    BoundModelRule,
    ConsistencyRule,
    EstimatorRule,
    PrecisionRule,
    RegisteredRule,
    VerdictRule,
)
from auditor.report.schema import Report

SECONDS_A_DAY = 86400.0


def judge_verdicts(rule: VerdictRule, report: Report) -> Iterator[Finding]:
    """Yield a finding for every effect whose verdict the rule is about.

    Raises:
        PolicyError: If the rule names what the report does not have.
    """
    rows = effects_asked(
        report, rule=rule.name, query=rule.query, kinds=rule.kinds, stages=rule.stages
    )
    for effect in rows:
        if effect.verdict in rule.allowed:
            outcome = Outcome.PASS
        elif effect.verdict is Verdict.NOT_RESOLVED:
            outcome = Outcome.INVESTIGATE
        else:
            helps = rule.direction == "harmful" and not _harms(effect)
            outcome = Outcome.PASS if helps else Outcome.FAIL
        yield _about(
            rule, effect, outcome=outcome, text=f"verdict on {effect.query} is {effect.verdict}"
        )


def judge_precision(rule: PrecisionRule, report: Report) -> Iterator[Finding]:
    """Yield a finding for every effect on the query.

    Raises:
        PolicyError: If the report has no such query.
    """
    for effect in effects_asked(report, rule=rule.name, query=rule.query):
        span = span_of(effect, "interval")
        if span is None or span.low is None or span.high is None:
            text = f"{effect.query} has no interval"
            yield _about(rule, effect, outcome=Outcome.INVESTIGATE, text=text)
            continue
        half = (span.high - span.low) / 2
        enough = half <= rule.half_width_at_most
        yield _about(
            rule,
            effect,
            outcome=Outcome.PASS if enough else Outcome.INVESTIGATE,
            text=f"half the interval on {effect.query} is {half:.3g} {effect.unit}, "
            f"to be <= {rule.half_width_at_most:.3g}",
        )


def judge_consistency(rule: ConsistencyRule, report: Report) -> Iterator[Finding]:
    """Yield the finding about the replayed segments of the log."""
    verdicts = [finding.verdict for finding in report.log.consistency]
    if "inconsistent" in verdicts:
        outcome = Outcome.FAIL
    elif not verdicts or set(verdicts) != {"consistent"}:
        outcome = Outcome.INVESTIGATE
    else:
        outcome = Outcome.PASS
    yield _finding(rule, outcome, report.log.consistency_statement)


def judge_model(rule: BoundModelRule, report: Report) -> Iterator[Finding]:
    """Yield the finding about whether the artifact at hand is what the figures are about."""
    model = report.model
    if report.repair is not None:
        text = f"the repaired model {report.repair.model.digest[:12]} was made from the log"
        yield _finding(rule, Outcome.PASS, text)
    elif model.source != "artifact":
        text = "no model artifact was given: the figures are about the log's final checkpoint"
        yield _finding(rule, Outcome.INVESTIGATE, text)
    elif model.bound:
        yield _finding(rule, Outcome.PASS, f"the model {model.digest[:12]} is bound to the log")
    else:
        text = f"the model {model.digest[:12]} is not the log's final checkpoint"
        yield _finding(rule, Outcome.FAIL, text)


def judge_age(rule: AgeRule, report: Report, *, now: datetime) -> Iterator[Finding]:
    """Yield the finding about the report's age at ``now``.

    Raises:
        InputError: If the report's date is no time.
    """
    if report.run is None:
        yield _finding(rule, Outcome.INVESTIGATE, "the report does not say when it was made")
        return
    made = parse_time(report.run.created, where="report.run.created")
    days = (now - made).total_seconds() / SECONDS_A_DAY
    if days < 0:
        yield _finding(rule, Outcome.INVESTIGATE, f"the report is dated {-days:.3g} days ahead")
        return
    outcome = Outcome.PASS if days <= rule.at_most_days else Outcome.FAIL
    text = f"the report is {days:.3g} days old, to be <= {rule.at_most_days:.3g}"
    yield _finding(rule, outcome, text)


def judge_estimator(rule: EstimatorRule, report: Report) -> Iterator[Finding]:
    """Yield the findings about what computed the figures."""
    used = report.estimator
    allowed = used.id in rule.allowed
    text = f"computed by {used.id}, to be one of {', '.join(rule.allowed)}"
    yield _finding(rule, Outcome.PASS if allowed else Outcome.FAIL, text)
    if rule.tolerance == "any":
        return
    for choice in used.choices:
        met = choice.within_tolerance
        yield _finding(
            rule,
            Outcome.PASS if met else Outcome.INVESTIGATE,
            f"{choice.intervention}: {choice.answered_by} is {'' if met else 'not '}within "
            f"{choice.tolerance:.3g}",
        )


def judge_registration(
    rule: RegisteredRule, report: Report, *, policy_digest: str
) -> Iterator[Finding]:
    """Yield the finding about whether the policy was named when the audit was asked for."""
    if report.policy_digest == policy_digest:
        yield _finding(rule, Outcome.PASS, "the audit was asked for under this policy")
    elif report.policy_digest is None:
        yield _finding(rule, Outcome.INVESTIGATE, "the audit was asked for without a policy")
    else:
        text = f"the audit was asked for under another policy, {report.policy_digest[:12]}"
        yield _finding(rule, Outcome.FAIL, text)


def _harms(effect: Effect) -> bool:
    """Say whether an effect is for the worse."""
    if effect.value is None:
        return True
    return effect.value > 0 if effect.better is Better.LOWER else effect.value < 0


def _finding(
    rule: ConsistencyRule | BoundModelRule | AgeRule | EstimatorRule | RegisteredRule,
    outcome: Outcome,
    message: str,
) -> Finding:
    return Finding(rule=rule.name, check=rule.check, outcome=outcome, message=message)


def _about(
    rule: VerdictRule | PrecisionRule, effect: Effect, *, outcome: Outcome, text: str
) -> Finding:
    return Finding(
        rule=rule.name,
        check=rule.check,
        outcome=outcome,
        message=f"{effect.intervention}: {text}",
        metric=effect.query,
        intervention=effect.intervention,
        stage=", ".join(stages_of(effect)) or None,
        value=effect.value,
        low=effect.low,
        high=effect.high,
        unit=effect.unit,
        sample_size=effect.n,
    )
