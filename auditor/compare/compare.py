"""Two verified reports: releases of one pipeline, or two estimators on one log."""

from collections.abc import Iterator, Mapping, Sequence

from auditor.compare.match import Pair, matched
from auditor.compare.result import (
    ComparedReport,
    ComparedRow,
    ComparedValue,
    Comparison,
    Side,
)
from auditor.compare.settings import query_flags, settings_of
from auditor.effects import Effect
from auditor.policy.judge import Judged
from auditor.policy.released import as_released
from auditor.policy.rows import Span, differ_in_confidence, span_of, stages_of
from auditor.report.labels import data_names
from auditor.report.schema import Report

OTHER_UNIT, OTHER_BETTER = "other unit", "other direction is better"
OTHER_CONFIDENCE = "other confidence"
INCOMPARABLE = frozenset({OTHER_UNIT, OTHER_BETTER})
"""Flags of rows that have no difference."""


def compare(a: Judged, b: Judged) -> Comparison:
    """Return what differs from A to B.

    Of a report that hands out a repaired model, the figures are those of that model, as for a gate.

    Args:
        a: A verified report, such as that of the last release.
        b: Another one.
    """
    before, after = as_released(a.report), as_released(b.report)
    flags = {query: query_flags(before, after, query) for query in _queries_of(before, after)}
    rows = tuple(_row(pair, flags) for pair in matched(before, after))
    values = tuple(_values(before, after, flags))
    both = [row for row in rows if row.a is not None and row.b is not None]
    flagged = any(row.flags for row in both) or any(value.flags for value in values)
    return Comparison(
        a=_identity(a),
        b=_identity(b),
        comparable=bool(both) and not flagged,
        settings=tuple(settings_of(a.report, b.report)),
        values=values,
        rows=rows,
        names={**data_names(a.report), **data_names(b.report)},
    )


def _queries_of(a: Report, b: Report) -> dict[str, None]:
    of_effects = (effect.query for report in (a, b) for effect in report.effects)
    of_values = (value.query for report in (a, b) for value in report.queries)
    return dict.fromkeys((*of_values, *of_effects))


def _row(pair: Pair, of_query: Mapping[str, Sequence[str]]) -> ComparedRow:
    one, other, effect = pair.a, pair.b, pair.effect
    row = ComparedRow(
        query=effect.query,
        kind=effect.kind,
        stages=stages_of(effect),
        unit=effect.unit,
        better=effect.better,
        a=None if one is None else _side(one),
        b=None if other is None else _side(other),
    )
    if one is None or other is None:
        return row
    flags = (*_flags(one, other), *of_query[effect.query])
    before, now = span_of(one, "interval"), span_of(other, "interval")
    if before is None or now is None:  # a verdict on what was not computed is none that changed
        return row.model_copy(update={"flags": flags})
    changed = {"flags": flags, "verdict_changed": one.verdict != other.verdict}
    if INCOMPARABLE & set(flags):
        return row.model_copy(update=changed)
    if OTHER_CONFIDENCE in flags:  # intervals at two levels say nothing together
        return row.model_copy(update={**changed, "difference": now.value - before.value})
    change = now.minus(before)
    return row.model_copy(
        update={
            **changed,
            "difference": change.value,
            "low": change.low,
            "high": change.high,
            "overlap": _overlap(before, now),
        }
    )


def _flags(one: Effect, other: Effect) -> Iterator[str]:
    if one.unit != other.unit:
        yield OTHER_UNIT
    if one.better != other.better:
        yield OTHER_BETTER
    if one.intervention != other.intervention:
        yield f"in A: {one.intervention}"
    if differ_in_confidence(one, other):
        yield OTHER_CONFIDENCE
    if one.estimand != other.estimand:
        yield "other estimand"


def _side(effect: Effect) -> Side:
    span = span_of(effect, "interval")
    return Side(
        value=effect.value,
        low=None if span is None else span.low,
        high=None if span is None else span.high,
        confidence=effect.confidence,
        verdict=effect.verdict,
        n=effect.n,
        intervention=effect.intervention,
    )


def _overlap(one: Span, other: Span) -> bool | None:
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return None
    return one.low <= other.high and other.low <= one.high


def _values(a: Report, b: Report, of_query: Mapping[str, Sequence[str]]) -> Iterator[ComparedValue]:
    before = {value.query: value for value in a.queries}
    after = {value.query: value for value in b.queries}
    for name, known in {**before, **after}.items():
        one, other = before.get(name), after.get(name)
        flags: list[str] = []
        difference = None
        if one is not None and other is not None:
            flags += [OTHER_UNIT] if one.unit != other.unit else []
            flags += [OTHER_BETTER] if one.better != other.better else []
            difference = None if flags else other.value - one.value
            flags += of_query[name]
        yield ComparedValue(
            query=name,
            unit=known.unit,
            better=known.better,
            a=None if one is None else one.value,
            b=None if other is None else other.value,
            difference=difference,
            flags=tuple(flags),
        )


def _identity(judged: Judged) -> ComparedReport:
    report = judged.report
    model = report.model if report.repair is None else report.repair.model
    return ComparedReport(
        id=judged.id,
        log=report.log.digest,
        log_name=report.log.name,
        model=model.digest,
        estimator=report.estimator.id,
        created=None if report.run is None else report.run.created,
    )
