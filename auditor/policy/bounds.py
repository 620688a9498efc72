"""Bounds on figures with intervals: pass where all of it keeps them, fail where all of it does not.

An interval that a bound lies in decides nothing: the finding is *investigate*, never a coin flip.
"""

from collections.abc import Iterator

from auditor.policy.result import Comparator, Finding, Outcome
from auditor.policy.rows import (
    Span,
    baseline_lacks,
    counterpart,
    effects_of,
    query_value,
    require_same_data,
    rows_by_key,
    span_of,
    stages_of,
    value_of,
)
from auditor.policy.schema import EffectRule, ValueRule
from auditor.report.schema import Report


def judge_effects(rule: EffectRule, report: Report, baseline: Report | None) -> Iterator[Finding]:
    """Yield a finding for every bound and effect that the rule is about.

    Args:
        rule: The rule.
        report: What is judged.
        baseline: What it is compared with, if the rule is against it.

    Raises:
        PolicyError: If the rule names what the report does not have.
        BaselineError: If the baseline is missing, lacks the row or has it on other data.
    """
    rows = effects_of(rule, report)
    compared = _baseline_of(rule, report, baseline)
    before_by_key = {} if compared is None else rows_by_key(compared)
    for effect in rows:
        span, what = span_of(effect, rule.judge), "effect"
        other = None if compared is None else counterpart(effect, before_by_key, baseline=compared)
        if rule.against == "baseline":
            what = "change of the effect against the baseline"
            before = None if other is None else span_of(other, rule.judge)
            if other is None:
                what = "effect, of a stage that the baseline does not have,"
            elif before is None or span is None:
                span = None
            else:
                span = span.minus(before)
        for comparator, bound in _bounds(rule):
            outcome = Outcome.INVESTIGATE if span is None else _outcome(span, comparator, bound)
            yield Finding(
                rule=rule.name,
                check=rule.check,
                outcome=outcome,
                message=f"{effect.intervention}: {what} on {effect.query} is "
                + _told(span, unit=effect.unit, judge=rule.judge)
                + f", to be {comparator} {bound:.4g}",
                metric=effect.query,
                intervention=effect.intervention,
                stage=", ".join(stages_of(effect)) or None,
                comparator=comparator,
                threshold=bound,
                value=None if span is None else span.value,
                low=None if span is None else span.low,
                high=None if span is None else span.high,
                unit=effect.unit,
                sample_size=effect.n,
            )


def judge_value(rule: ValueRule, report: Report, baseline: Report | None) -> Iterator[Finding]:
    """Yield a finding for every bound on a query's value at the audited model.

    Raises:
        PolicyError: If the report has no such query.
        BaselineError: If the baseline is missing, lacks the query or asks it of other data.
    """
    value = value_of(rule.name, rule.query, report)
    figure, what = value.value, "value"
    if rule.against == "baseline":
        before = None if baseline is None else query_value(baseline, rule.query)
        if baseline is None or before is None or before.unit != value.unit:
            raise baseline_lacks(f"{rule.query} in {value.unit}")
        require_same_data(rule.query, report, baseline)
        figure, what = figure - before.value, "change against the baseline"
    span = Span(value=figure, low=figure, high=figure)
    for comparator, bound in _bounds(rule):
        yield Finding(
            rule=rule.name,
            check=rule.check,
            outcome=_outcome(span, comparator, bound),
            message=f"{what} of {rule.query} is {figure:.4g} {value.unit}, "
            f"to be {comparator} {bound:.4g}",
            metric=rule.query,
            comparator=comparator,
            threshold=bound,
            value=figure,
            unit=value.unit,
            sample_size=value.n,
        )


def _baseline_of(rule: EffectRule, report: Report, baseline: Report | None) -> Report | None:
    """Return the baseline if the rule is against it, asked on the same examples."""
    if rule.against != "baseline":
        return None
    if baseline is None:
        raise baseline_lacks("a report")
    require_same_data(rule.query, report, baseline)
    return baseline


def _bounds(rule: EffectRule | ValueRule) -> Iterator[tuple[Comparator, float]]:
    if rule.at_most is not None:
        yield "<=", rule.at_most
    if rule.at_least is not None:
        yield ">=", rule.at_least


def _outcome(span: Span, comparator: Comparator, bound: float) -> Outcome:
    """Return pass or fail where the whole interval says so."""
    if span.low is None or span.high is None:
        return Outcome.INVESTIGATE
    low, high = (span.low, span.high) if comparator == "<=" else (-span.high, -span.low)
    limit = bound if comparator == "<=" else -bound
    if high <= limit:
        return Outcome.PASS
    return Outcome.FAIL if low > limit else Outcome.INVESTIGATE


def _told(span: Span | None, *, unit: str, judge: str) -> str:
    if span is None:
        return "not computed"
    text = f"{span.value:+.4g} {unit}"
    if span.low is None or span.high is None:
        return f"{text} without an interval"
    if span.low == span.high:
        return text
    about = " for the population" if judge == "population" else ""
    return f"{text} ({span.low:+.4g} to {span.high:+.4g}{about})"
