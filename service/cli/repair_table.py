"""A repair for people: every query before and after, the levels tried, what it is not."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from auditor.audit.fade_search import Candidate
from auditor.effects import Better, Effect
from auditor.plan.repair import Goal
from auditor.report.repair import BeforeAfter
from auditor.report.schema import Report


def print_repair(report: Report, *, console: Console) -> None:
    """Print what a repaired model changes and what may be said of it."""
    repair = report.repair
    if repair is None:
        return
    console.print()
    console.print(f"Repaired: {repair.label}", style="bold", markup=False)
    how = (
        "retrained exactly from the intervention on"
        if repair.fraction == 1.0
        else f"replayed on {repair.fraction:g} of every batch, replica {repair.replica}"
    )
    console.print(
        f"model      {repair.model.digest} ({repair.model.tensors} tensors)", markup=False
    )
    console.print(f"made from  {report.model.digest} ({report.model.source})", markup=False)
    console.print(f"how        {how}", markup=False)
    console.print(f"log check  {report.log.consistency_statement}", markup=False)
    console.print()
    rows = {e.query: e for e in report.effects if e.intervention == repair.label}
    console.print(_table(repair.queries, rows))
    for outcome in repair.goals:
        met = "[green]met[/]" if outcome.met else "[bold red]not met[/]"
        console.print(f"{met}  {escape(outcome.goal.text)}: {outcome.found:+.4f}")
    console.print()
    console.print(repair.statement, markup=False)


def print_candidates(
    candidates: Sequence[Candidate], goals: Sequence[Goal], *, best: Candidate, console: Console
) -> None:
    """Print the levels that a search tried and which one it came to."""
    table = Table(
        title="Levels tried: the part left of each of the stage's updates",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("alpha", justify="right")
    for goal in goals:
        table.add_column(escape(goal.text), justify="right")
    table.add_column("")
    recorded = Candidate(alpha=1.0, before=best.before, after=best.before)
    for level in (recorded, *candidates):
        table.add_row(
            f"{level.alpha:g}",
            *(_cell(level, goal) for goal in goals),
            _remark(level, goals, best=best),
        )
    console.print()
    console.print(table)
    if not best.meets_all(goals):
        console.print(
            f"No level meets all goals; {best.alpha:g} comes closest. Nothing was written.",
            style="bold",
        )
    elif best.alpha == 1.0:
        console.print(
            "The recorded model meets all goals: there is nothing to repair, and nothing was "
            "written.",
            style="bold",
        )


def _cell(level: Candidate, goal: Goal) -> str:
    found = goal.figure(before=level.before[goal.query], after=level.after[goal.query])
    text = f"{found:+.4f}"
    return text if level.meets(goal) else f"[red]{text} no[/]"


def _remark(level: Candidate, goals: Sequence[Goal], *, best: Candidate) -> str:
    if level.alpha != best.alpha:
        return ""
    return "chosen" if level.meets_all(goals) else "closest"


def _table(queries: Sequence[BeforeAfter], effects: dict[str, Effect]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("query", overflow="fold")
    for name in ("before", "after", "change", "interval of the change"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for row in queries:
        table.add_row(
            escape(row.query),
            f"{row.before:.4f}",
            f"{row.after:.4f}",
            f"{row.after - row.before:+.4f}",
            _interval(effects.get(row.query)),
            _direction(row),
        )
    return table


def _interval(effect: Effect | None) -> str:
    """Return the interval of after minus before, which is that of the effect turned around."""
    if effect is None or effect.low is None or effect.high is None:
        return "–"
    if effect.exact_by_construction:
        return "exact"
    return f"{-effect.high:+.4f} to {-effect.low:+.4f}"


def _direction(row: BeforeAfter) -> str:
    if row.after == row.before:
        return "as before"
    better = (row.after > row.before) == (row.better is Better.HIGHER)
    return "better" if better else "worse"
