"""How the demo shows figures: effects beside truth, disagreements, metrics, what to try next."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from auditor.effects import Verdict
from auditor.report.schema import Report
from service.cli.report_table import interval
from service.demo.claims import PLANTING_STAGE, ComparedRow
from service.demo.recording import DemoFolders
from service.demo.telemetry import shown_lines
from service.demo.truth import CUE, LOSS


def print_comparison(report: Report, rows: Sequence[ComparedRow], *, console: Console) -> None:
    """Print one table a query: effect, interval, exact truth, the free baselines."""
    for query in report.queries:
        table = Table(
            title=f"{query.query} = {query.value:.3f} {query.unit} (lower is better); effect = "
            "how much the stage raised it",
            title_justify="left",
        )
        table.add_column("intervention")
        table.add_column("effect", justify="right")
        table.add_column("90 % interval", justify="right")
        table.add_column("exact truth", justify="right")
        table.add_column("inside")
        table.add_column("verdict")
        table.add_column("task vector", justify="right")
        for row in rows:
            if row.effect.query != query.query:
                continue
            effect = row.effect
            vector = effect.baselines.get("task_vector")
            table.add_row(
                f"{effect.kind} {effect.stage}",
                f"{effect.value:+.3f}",
                interval(effect),
                f"{row.truth:+.3f}",
                "[green]yes[/]" if row.inside else "[red]no[/]",
                str(effect.verdict),
                "–" if vector is None else f"{vector:+.3f}",
                style="bold" if _is_answer(row) else None,
            )
        console.print(table)


def _is_answer(row: ComparedRow) -> bool:
    """Say whether this is the row that the demo is about."""
    effect = row.effect
    return (effect.query, effect.kind, effect.stage) == (CUE, "replace", PLANTING_STAGE)


def print_disagreements(report: Report, rows: Sequence[ComparedRow], *, console: Console) -> None:
    """Say where skip and replace tell different stories, and why."""
    by_name = {(row.effect.query, row.effect.kind, row.effect.stage): row for row in rows}
    console.print("  [bold]Where skip and replace disagree[/]")
    for query, meaning in (
        (CUE, "planted nothing: its 60 or 40 updates only made the network surer of everything"),
        (LOSS, "its data is no better than other clean data: what helped was training at all"),
    ):
        for stage in report.log.stages:
            skip, replace = (by_name[query, kind, stage].effect for kind in ("skip", "replace"))
            if skip.verdict is Verdict.EFFECT and abs(skip.value) > 3 * abs(replace.value):
                console.print(
                    f"  {query}, {stage}: skip {skip.value:+.2f}, replace {replace.value:+.2f}: "
                    f"{meaning}",
                    markup=False,
                )
    console.print(
        "  skip takes a stage's data and its amount of training away together; replace keeps the\n"
        "  updates and swaps the data, so it answers who planted something.",
        markup=False,
    )


def print_telemetry(exposition: str, *, console: Console) -> None:
    """Print the metrics worth reading."""
    for line in shown_lines(exposition):
        console.print(f"  {line}", markup=False)


def print_next_steps(folders: DemoFolders, *, console: Console) -> None:
    """Say what to try next, with the paths of this run."""
    console.print("\n[bold]Try next[/] (with `stageaudit demo --keep DIR` the files stay)")
    for line in (
        f"stageaudit report show {folders.report}",
        f"stageaudit log inspect {folders.log}",
        f"stageaudit audit {folders.request} --local {folders.log} --estimator retrain",
        f"stageaudit audit {folders.request} --local {folders.log} "
        f"--drop {PLANTING_STAGE}:source=vendor-b",
        "stageaudit estimators",
    ):
        console.print(f"  {line}", markup=False, soft_wrap=True)
