"""The rows of a report that a rule is about, each with the baseline's row it is compared with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from typing import final

from auditor.effects import Effect
from auditor.errors import BaselineError, PolicyError
from auditor.policy.schema import EffectRule
from auditor.report.schema import QueryValue, Report


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A figure and its interval; without one (``low`` is None) the figure is all that is known."""

    value: float
    low: float | None
    high: float | None

    def minus(self, other: "Span") -> "Span":
        """Return the difference; errors of two reports are taken as independent."""
        value = self.value - other.value
        if None in {self.low, self.high, other.low, other.high}:
            return Span(value=value, low=None, high=None)
        below = hypot(self.value - (self.low or 0.0), (other.high or 0.0) - other.value)
        above = hypot((self.high or 0.0) - self.value, other.value - (other.low or 0.0))
        return Span(value=value, low=value - below, high=value + above)


def span_of(effect: Effect, judge: str) -> Span | None:
    """Return what a rule judges of an effect; None if that was not computed.

    Args:
        effect: A row of a report.
        judge: ``interval``, ``value`` or ``population``.
    """
    if effect.value is None:
        return None
    if judge == "value" or (effect.exact_by_construction and judge == "interval"):
        return Span(value=effect.value, low=effect.value, high=effect.value)
    population = judge == "population"
    low = effect.population_low if population else effect.low
    high = effect.population_high if population else effect.high
    return Span(value=effect.value, low=low, high=high)


def effects_asked(
    report: Report,
    *,
    rule: str,
    query: str,
    kinds: Sequence[str] = (),
    interventions: Sequence[str] = (),
    stages: Sequence[str] = (),
) -> tuple[Effect, ...]:
    """Return the effects that a rule is about, at least one.

    Args:
        report: Whose effects.
        rule: The rule's name, for messages.
        query: Name of the query.
        kinds: Kinds of interventions, all if empty.
        interventions: Labels, all if empty.
        stages: Names, all if empty.

    Raises:
        PolicyError: If the report has no such query, stage, label, or no such row.
    """
    _require_known(rule, "query", [query], known=[e.query for e in report.effects])
    _require_known(rule, "stages", stages, known=report.log.stages)
    labels = [e.intervention for e in report.effects]
    _require_known(rule, "interventions", interventions, known=labels)
    found = tuple(
        effect
        for effect in report.effects
        if effect.query == query
        and (not kinds or effect.kind in kinds)
        and (not interventions or effect.intervention in interventions)
        and (not stages or bool(set(stages_of(effect)) & set(stages)))
    )
    if not found:
        raise PolicyError(
            f"rule {rule!r}",
            expected="at least one effect that it is about",
            found=f"none among {len(report.effects)} of the report",
            remedy="Audit the interventions that the rule names, or correct the rule.",
        )
    return found


def effects_of(rule: EffectRule, report: Report) -> tuple[Effect, ...]:
    """Return the effects that a rule bounds, at least one.

    Raises:
        PolicyError: If the rule names what the report does not have.
    """
    return effects_asked(
        report,
        rule=rule.name,
        query=rule.query,
        kinds=rule.kinds,
        interventions=rule.interventions,
        stages=rule.stages,
    )


def stages_of(effect: Effect) -> tuple[str, ...]:
    """Return the stages that an effect's intervention acts on."""
    return effect.stages or (() if effect.stage is None else (effect.stage,))


def require_same_data(query: str, report: Report, baseline: Report) -> None:
    """Refuse to compare a query that was asked on other examples.

    Raises:
        BaselineError: If the two name different evaluation sets, or different numbers of examples.
    """
    own, other = query_value(report, query), query_value(baseline, query)
    if own is None or other is None:
        return
    if same_data(own, other):
        return
    raise BaselineError(
        f"baseline.queries[{query}]",
        expected=_data_of(own),
        found=_data_of(other),
        remedy="Audit the baseline's model on the same evaluation data, or judge against zero.",
    )


def same_data(own: QueryValue, other: QueryValue) -> bool:
    """Say whether a query was asked on the same examples, as far as both reports tell."""
    same_sets = not own.data or not other.data or own.data == other.data
    return same_sets and own.n == other.n


def query_value(report: Report, query: str) -> QueryValue | None:
    """Return a query's value at the model itself, or None where it was not asked."""
    return next((value for value in report.queries if value.query == query), None)


def value_of(rule: str, query: str, report: Report) -> QueryValue:
    """Return a query's value at the model itself.

    Raises:
        PolicyError: If the report has no such query.
    """
    _require_known(rule, "query", [query], known=[value.query for value in report.queries])
    return next(value for value in report.queries if value.query == query)


def row_key(effect: Effect) -> tuple[str, str, str]:
    """Return what the same intervention's effect on the same query has in another report."""
    return effect.query, effect.intervention, effect.kind


def differ_in_confidence(one: Effect, other: Effect) -> bool:
    """Say whether two effects have intervals at different levels."""
    levels = {effect.confidence for effect in (one, other) if not effect.exact_by_construction}
    return len(levels - {None}) > 1


def rows_by_key(report: Report) -> dict[tuple[str, str, str], Effect]:
    """Return a report's effects by what they have in common with those of another one."""
    return {row_key(effect): effect for effect in report.effects}


def counterpart(
    effect: Effect, rows: Mapping[tuple[str, str, str], Effect], *, baseline: Report
) -> Effect | None:
    """Return the baseline's effect of the same intervention on the same query.

    None where the baseline's model was made without the stage: there is nothing to compare with,
    and the effect counts whole.

    Args:
        effect: Of the report that is judged.
        rows: The baseline's, by key.
        baseline: The report that they are of.

    Raises:
        BaselineError: If the stages are there but the row is not, or is in another unit or at
            another confidence.
    """
    other = rows.get(row_key(effect))
    if other is not None and other.unit == effect.unit:
        if differ_in_confidence(effect, other):
            raise BaselineError(
                f"baseline, {effect.intervention} on {effect.query}",
                expected=f"an interval at confidence {effect.confidence}",
                found=other.confidence,
                remedy="Audit the baseline's model at the same confidence.",
            )
        return other
    if set(stages_of(effect)) <= set(baseline.log.stages):
        raise baseline_lacks(f"{effect.intervention} on {effect.query} in {effect.unit}")
    return None


def baseline_lacks(what: str) -> BaselineError:
    """Return the error for a baseline that does not hold what a rule compares with."""
    return BaselineError(
        "baseline",
        expected=f"{what}, to compare with",
        found="no such row",
        remedy="Audit the baseline's model by the same request, or judge against zero.",
    )


def _require_known(rule: str, field: str, asked: Sequence[str], *, known: Sequence[str]) -> None:
    for name in asked:
        if name not in known:
            raise PolicyError(
                f"rule {rule!r}.{field}",
                expected="one of " + (", ".join(dict.fromkeys(known)) or "none at all"),
                found=name,
                remedy="Name what the report has, or audit what the rule is about.",
            )


def _data_of(value: QueryValue) -> str:
    sets = " and ".join(digest[:12] for digest in value.data)
    return f"{value.n} examples" + (f" of {sets}" if sets else "")
