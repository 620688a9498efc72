"""Joint effects, Shapley values and timelines of a report, as tables for people."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from auditor.report.finer import AllocatedValue, Allocation, Timeline
from auditor.report.schema import Report


def print_finer(report: Report, *, console: Console) -> None:
    """Print what the report has beside single effects; nothing where it has none."""
    if report.joints:
        console.print()
        console.print("Joint effects", style="bold")
        for joint in report.joints:
            console.print(f"- {joint.query}: {joint.text}", markup=False)
    for allocation in report.allocations:
        console.print()
        context = ", ".join(allocation.context)
        console.print(
            f"{allocation.query}: Shapley values after {context} ({allocation.label})",
            style="italic",
            markup=False,
        )
        console.print(allocation_table(allocation))
    for timeline in report.timelines:
        console.print()
        console.print(f"{timeline.query}: {timeline.label}", style="italic", markup=False)
        console.print(timeline_table(timeline))


def allocation_table(allocation: Allocation) -> Table:
    """Return the Shapley values of one query."""
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        show_footer=True,
    )
    table.add_column("stage", footer="sum")
    table.add_column(
        f"value ({allocation.unit})", footer=f"{allocation.total:+.4f}", justify="right"
    )
    confidence = allocation.confidence
    table.add_column("interval" if confidence is None else f"{confidence:.0%} interval")
    for row in allocation.values:
        table.add_row(escape(row.stage), f"{row.value:+.4f}", _interval(row))
    return table


def _interval(row: AllocatedValue) -> str:
    if row.low is None or row.high is None:
        return "–"
    return "exact" if row.low == row.high else f"{row.low:+.4f} to {row.high:+.4f}"


def timeline_table(timeline: Timeline) -> Table:
    """Return the effects of one query's windows, and their sums by stage."""
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("stage")
    table.add_column("steps", no_wrap=True)
    table.add_column(f"effect ({timeline.unit})", justify="right")
    table.add_column("mean lr", justify="right")
    for stage in timeline.stages:
        for window in (window for window in timeline.windows if window.stage == stage.stage):
            table.add_row(
                escape(window.stage),
                f"{window.first_step}-{window.end_step - 1}",
                f"{window.value:+.4f}",
                f"{window.learning_rate:.3g}",
            )
        table.add_row(escape(stage.stage), "sum", f"{stage.value:+.4f}", "", end_section=True)
    return table
