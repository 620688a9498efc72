"""What was asked, and the verdict in one sentence."""

from collections import Counter
from dataclasses import dataclass

from auditor.attest.trust import parse_time
from auditor.effects import Effect, Verdict
from auditor.errors import InputError
from auditor.page.direction import (
    Direction,
    better_words,
    change_direction,
    direction_of,
    verdict_words,
)
from auditor.page.facts import PageFacts, assurance_words, minute_of
from auditor.page.figures import decimals_for, signed, size
from auditor.page.strips import interval_text
from auditor.report.labels import data_names, named
from auditor.report.repair import Repair
from auditor.report.schema import QueryValue, Report

OUTSTANDING_QUERIES = 6
"""Queries whose largest effect stands on page one."""

_SIDES = (Direction.WORSE, Direction.BETTER)

DATA_KINDS = ("replace", "drop", "change")
"""Interventions that keep the amount of training; a skip takes it away with the data."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outstanding:
    """The largest established effect on a query, in the report's own words; None if none is."""

    query: str
    about: str
    label: str | None
    direction: Direction
    value: str
    between: str
    verdict: str
    statement: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """Page one, above the limitations."""

    run: str
    asked: str
    purpose: str | None
    verdict: str
    outstanding: tuple[Outstanding, ...]
    queries_left: int
    repair: str | None
    created: str | None
    assurance: str
    proven: str | None
    signature: str
    holds: str
    made: str | None
    report_id: str | None


def head_of(report: Report, facts: PageFacts) -> Head:
    """Return what stands at the head of the page."""
    # A repair's own figures are before and after; effects are about the model it was made from.
    repair = report.repair
    queries = report.queries if repair is None else ()
    shown = queries[:OUTSTANDING_QUERIES]
    return Head(
        run=report.log.name,
        asked=_asked(report),
        purpose=report.purpose,
        verdict=report_sentence(report),
        outstanding=tuple(_outstanding(query, report) for query in shown),
        queries_left=len(queries) - len(shown),
        repair=None if repair is None else repair.statement,
        created=None if report.run is None else _minute(report.run.created),
        assurance=assurance_words(report, facts),
        proven=facts.proven,
        signature=signature_sentence(facts),
        holds="no" if facts.signer is None else "yes",
        made=facts.made,
        report_id=facts.report_id,
    )


def signature_sentence(facts: PageFacts, *, of: str = "page") -> str:
    """Say whether the signature verified when the page, or what it is, was made."""
    if facts.signer is not None:
        return (
            f"When this {of} was made, the report's signature verified: it is of the key "
            f"“{facts.signer}” ({(facts.keyid or '')[:16]})."
        )
    return (
        f"When this {of} was made, the report's signature was NOT verified: no key that the maker "
        f"of the {of} trusts has signed it."
    )


def report_sentence(report: Report) -> str:
    """Return the verdict in one sentence: what a repair changed, or which effects there are."""
    if report.repair is not None:
        return repair_sentence(report.repair)
    return verdict_sentence(report.effects)


def verdict_sentence(effects: tuple[Effect, ...]) -> str:
    """Return how many effects were established and what they did, in one sentence."""
    if not effects:
        return "No effect was asked for."
    found = Counter(verdict_words(effect) for effect in effects)
    established = [e for e in effects if direction_of(e) is not Direction.OPEN]
    of = f"{len(established):,} of {_count(len(effects), 'effect')}"
    sides = Counter(direction_of(effect) for effect in established)
    did = [f"{sides[side]:,} made the model {side}" for side in _SIDES if sides[side]]
    parts = [f"{of} {_is(len(established), of=len(effects))} established"]
    parts[0] += f": {' and '.join(did)}" if did else ""
    rest = [
        f"{count:,} {'is' if count == 1 else 'are'} {words}"
        for words, count in found.most_common()
        if not words.startswith(f"{Verdict.EFFECT}: ") and words != Verdict.EFFECT
    ]
    zero = found[str(Verdict.EFFECT)]
    rest += [f"{zero:,} exactly zero"] if zero else []
    return "; ".join([*parts, ", ".join(rest)] if rest else parts) + "."


def repair_sentence(repair: Repair) -> str:
    """Return what a repair changed and whether its goals are met, in one sentence."""
    did = Counter(
        change_direction(row.after - row.before, better=row.better) for row in repair.queries
    )
    words = {**{side: f"{side}" for side in _SIDES}, Direction.OPEN: "unchanged"}
    changes = " and ".join(f"{did[side]:,} {words[side]}" for side in words if did[side])
    of = f"Of {_count(len(repair.queries), 'query', 'queries')}, the repair makes {changes}"
    if not repair.goals:
        return f"{of}."
    met, goals = sum(outcome.met for outcome in repair.goals), len(repair.goals)
    return f"{of}; {met:,} of {_count(goals, 'goal')} {_is(met, of=goals)} met."


def _minute(text: str) -> str:
    """Return a time to the minute; text that is no time stays as it is."""
    try:
        return minute_of(parse_time(text, where="report.run.created"))
    except InputError:
        return text


def _asked(report: Report) -> str:
    kinds = Counter(e.intervention for e in report.effects)
    stages = len(report.log.stages)
    return (
        f"{_count(len(kinds), 'intervention')} in the {_count(stages, 'stage')} of this training, "
        f"asked about {_count(len(report.queries), 'query', 'queries')} of the final model."
    )


def _outstanding(query: QueryValue, report: Report) -> Outstanding:
    rows = [e for e in report.effects if e.query == query.query and e.value is not None]
    established = [e for e in rows if direction_of(e) is not Direction.OPEN]
    # What planted a behaviour is answered by replace or drop, so that a skip comes second.
    preferred = [e for e in established if e.kind in DATA_KINDS] or established
    top = max(preferred, key=lambda e: abs(e.known_value), default=None)
    value = f"{size(query.value, decimals=decimals_for([query.value]))} {query.unit}"
    about = f"{value} at the audited model, on {_count(query.n, 'example')}"
    about += f"; {better_words(query.better)}"
    if top is None:
        return Outstanding(
            query=query.query,
            about=about,
            label=None,
            direction=Direction.OPEN,
            value="",
            between="",
            verdict="No effect on it is established.",
            statement="",
        )
    decimals = decimals_for([e.known_value for e in rows])
    return Outstanding(
        query=query.query,
        about=about,
        label=named(top.intervention, data_names(report)),
        direction=direction_of(top),
        value=f"{signed(top.value, decimals=decimals)} {top.unit}",
        between=interval_text(top, decimals),
        verdict=verdict_words(top),
        statement=top.statement,
    )


def _is(number: int, *, of: int) -> str:
    return "is" if 1 in {number, of} else "are"


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
