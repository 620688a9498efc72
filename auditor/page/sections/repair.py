"""Before and after a repair: every query at both models, and the goals."""

from dataclasses import dataclass

from auditor.page.direction import Direction, better_words, change_direction
from auditor.page.facts import PageFacts
from auditor.page.figures import decimals_for, plain, signed, size
from auditor.page.scale import scale_of
from auditor.report.labels import data_names, named
from auditor.report.repair import BeforeAfter
from auditor.report.schema import Report


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One query: two points on a scale of its own that begins at zero, and the same as text."""

    query: str
    unit: str
    better: str
    before: str
    after: str
    change: str
    direction: Direction
    words: str
    n: str
    from_percent: float
    to_percent: float
    zero_percent: float


@dataclass(frozen=True, kw_only=True, slots=True)
class GoalLine:
    """What was asked of the repaired model, and what was found."""

    text: str
    found: str
    outcome: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RepairPart:
    """What was taken out, how, and what came of it."""

    label: str
    statement: str
    how: str
    model: str
    size: str
    changes: tuple[Change, ...]
    goals: tuple[GoalLine, ...]


_DID = {Direction.WORSE: "worse", Direction.BETTER: "better", Direction.OPEN: "unchanged"}


def repair_of(report: Report, _: PageFacts) -> RepairPart | None:
    """Return before and after; None for a report that hands out no model."""
    repair = report.repair
    if repair is None:
        return None
    exact = repair.fraction == 1.0
    return RepairPart(
        label=named(repair.label, data_names(report)),
        statement=repair.statement,
        how="retrained exactly from the intervention on"
        if exact
        else f"replayed on {repair.fraction:g} of every batch, replica {repair.replica}",
        model=repair.model.digest,
        size=f"{repair.model.size_bytes:,} bytes in {repair.model.tensors:,} tensors",
        changes=tuple(_change(row) for row in repair.queries),
        goals=tuple(
            GoalLine(
                text=outcome.goal.text,
                found=plain(outcome.found),
                outcome="met" if outcome.met else "not met",
            )
            for outcome in repair.goals
        ),
    )


def _change(row: BeforeAfter) -> Change:
    scale = scale_of([row.before, row.after])
    decimals = decimals_for([row.before, row.after])
    direction = change_direction(row.after - row.before, better=row.better)
    return Change(
        query=row.query,
        unit=row.unit,
        better=better_words(row.better),
        before=size(row.before, decimals=decimals),
        after=size(row.after, decimals=decimals),
        change=signed(row.after - row.before, decimals=decimals),
        direction=direction,
        words=_DID[direction],
        n=f"{row.n:,}",
        from_percent=scale.percent(row.before),
        to_percent=scale.percent(row.after),
        zero_percent=scale.percent(0.0),
    )
