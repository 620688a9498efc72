"""From what a report's request came to again to whether its figures are reproduced."""

from collections.abc import Iterable, Iterator, Mapping

from auditor.audit.reproduce import Again, AgainAction
from auditor.plan.actions import ActionKey
from auditor.report.agreement import (
    COMPUTED,
    Comparison,
    compared_reports,
    place_of,
    row_of,
)
from auditor.report.execution import Environment
from auditor.report.reproduction import (
    Agreement,
    ChangedEnvironment,
    ComparedFigure,
    ComparedKey,
    Only,
    Reproduction,
    worst,
)
from auditor.report.schema import Report
from auditor.stagelog.digest import Digest


def reproduction_of(
    report: Report,
    again: Again,
    *,
    report_id: Digest,
    tolerance: float,
    only: Only | None = None,
    left_out: Iterable[str] = (),
) -> Reproduction:
    """Return how each figure and each action of a report agrees with what it came to again.

    Args:
        report: As it was signed.
        again: What its request came to.
        report_id: The report's id.
        tolerance: Relative, for figures.
        only: What was to be computed; None: everything. An effect of it that the request does not
            come to has nothing on the other side, and is different.
        left_out: Parts of the report that could not be computed here.
    """
    signed = _signed_results(report)
    out = tuple(left_out)
    same_bits = all(signed.get(key) == action.result for key, action in again.actions.items())
    how = Comparison(tolerance=tolerance, same_bits=same_bits)
    if again.report is None:
        chosen = () if only is None else only.effects
        signed_part = report.model_copy(update={"effects": chosen})
        computed = report.model_copy(update={"effects": again.effects})
        figures = compared_reports(signed_part, computed, how=how, parts=("effects",))
    else:
        parts = [part for part in COMPUTED if part not in out]
        figures = compared_reports(report, again.report, how=how, parts=parts)
    keys = tuple(_keys(report, again, signed, figures=figures))
    return Reproduction(
        report=report_id,
        outcome=worst([f.agreement for f in figures] + [k.agreement for k in keys]).value,
        tolerance=tolerance,
        figures=figures,
        keys=keys,
        environment=next((action.ran.environment for action in again.actions.values()), None),
        changed=tuple(_changed(again.actions.values())),
        not_compared=out,
    )


def _signed_results(report: Report) -> dict[ActionKey, Digest]:
    """Return the results that the report names, by action."""
    executions = None if report.run is None else report.run.executions
    return {
        ActionKey(key): Digest(result)
        for group in (() if executions is None else executions.groups)
        for key, result in zip(group.keys, group.results, strict=True)
    }


def _keys(
    report: Report,
    again: Again,
    signed: Mapping[ActionKey, Digest],
    *,
    figures: Iterable[ComparedFigure],
) -> Iterator[ComparedKey]:
    """Yield every action: identical results, or the worst of the figures that rest on it."""
    of_row: dict[str, list[Agreement]] = {}
    for figure in figures:
        of_row.setdefault(row_of(figure), []).append(figure.agreement)
    by_key: dict[str, list[Agreement]] = {}
    for effect in report.effects:
        for key in effect.action_keys:
            by_key.setdefault(key, []).extend(of_row.get(place_of(effect), []))
    everywhere = worst(agreement for own in of_row.values() for agreement in own)
    for key, action in again.actions.items():
        if signed.get(key) == action.result:
            agreement = Agreement.IDENTICAL
        else:
            known = Agreement.IDENTICAL if key not in signed else Agreement.WITHIN
            agreement = worst([known, *by_key.get(key, [everywhere])])
        yield ComparedKey(
            key=key,
            kind=action.kind,
            agreement=agreement,
            signed=signed.get(key),
            again=action.result,
            as_recorded=action.as_recorded,
        )


def _changed(actions: Iterable[AgainAction]) -> Iterator[ChangedEnvironment]:
    """Yield each fact of an environment that differs from the recorded one, once."""
    pairs: dict[tuple[Environment, Environment], None] = {
        (action.before, action.ran.environment): None
        for action in actions
        if action.before is not None
    }
    seen: set[tuple[str, str, str]] = set()
    for before, now in pairs:
        for fact in Environment.model_fields:
            one, other = str(getattr(before, fact)), str(getattr(now, fact))
            if one != other and (fact, one, other) not in seen:
                seen.add((fact, one, other))
                yield ChangedEnvironment(fact=fact, recorded=one, here=other)
