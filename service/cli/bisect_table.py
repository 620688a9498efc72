"""A bisection for people: the gap of every query and what explains it."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from auditor.audit.bisect_finding import BisectFinding, Explanation, QueryFinding
from auditor.effects import Better


def print_bisect(finding: BisectFinding, *, console: Console) -> None:
    """Print what a bisection found."""
    console.print(f"A  {finding.a}", markup=False)
    console.print(f"B  {finding.b}", markup=False)
    for query in finding.queries:
        console.print()
        console.print(_table(query, confidence=finding.confidence))
        console.print(query.statement, markup=False, style="bold")
    console.print()
    console.print(
        "Explained = B minus B with this part of A, run again exactly. Noise = standard deviation "
        f"of the query when the stage's batches are drawn anew ({finding.draws} draws). A change "
        f"is named when it explains at least {finding.share:.0%} of the gap and is outside of its "
        "noise, all candidates taken together.",
        style="dim",
        markup=False,
    )


def _table(query: QueryFinding, *, confidence: float) -> Table:
    table = Table(
        title=f"{escape(query.query)}: A {query.a:.4g}, B {query.b:.4g} {query.unit}, gap "
        f"{query.gap:+.4g} ({_direction(query)})",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("stage", overflow="fold")
    table.add_column("part taken from A", overflow="fold")
    table.add_column("differs in", overflow="fold")
    table.add_column("explained", justify="right", no_wrap=True)
    table.add_column("of gap", justify="right", no_wrap=True)
    table.add_column(f"{confidence:.0%} interval", justify="right", no_wrap=True)
    table.add_column("noise", justify="right", no_wrap=True)
    table.add_column("verdict")
    for position, row in enumerate(query.explanations):
        named = position == query.cause
        table.add_row(
            escape(row.stage),
            str(row.part),
            escape(", ".join(row.what)),
            "–" if row.explained is None else f"{row.explained:+.4f}",
            "–" if row.share is None else f"{row.share:.0%}",
            _interval(row),
            "–" if row.noise is None else f"{row.noise:.4f}",
            f"[bold green]{row.verdict}[/]" if named else row.verdict,
        )
    return table


def _interval(row: Explanation) -> str:
    if row.low is None or row.high is None:
        return "–"
    return f"{row.low:+.4f} to {row.high:+.4f}"


def _direction(query: QueryFinding) -> str:
    if query.gap == 0:
        return "no gap"
    return "B is better" if (query.gap > 0) == (query.better is Better.HIGHER) else "B is worse"
