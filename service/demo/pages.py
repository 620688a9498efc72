"""How the demo shows figures: effects beside truth, disagreements, metrics, what to try next."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from auditor.effects import Effect, Verdict
from auditor.report.schema import Report
from service.demo.claims import PLANTING_STAGE, ComparedRow
from service.demo.telemetry import shown_lines
from service.demo.training import STEPS
from service.demo.truth import CUE, LOSS

INDENT = 2


def say(text: str, *, console: Console) -> None:
    """Print a paragraph, indented."""
    console.print(Padding.indent(Text(text), INDENT))


def print_comparison(report: Report, rows: Sequence[ComparedRow], *, console: Console) -> None:
    """Print one table a query: effect, interval, exact truth, the free baseline."""
    values = {query.query: query for query in report.queries}
    for name in (CUE, LOSS):
        table = Table(
            title=f"{name} = {values[name].value:.3f} {values[name].unit}, lower is better",
            title_justify="left",
            box=SIMPLE_HEAD,
            pad_edge=False,
        )
        table.add_column("intervention")
        table.add_column("effect", justify="right")
        table.add_column("90 % interval", justify="right")
        table.add_column("exact truth", justify="right")
        table.add_column("inside")
        table.add_column("verdict")
        table.add_column("task vector", justify="right")
        for row in rows:
            if row.effect.query != name:
                continue
            effect = row.effect
            vector = effect.baselines.get("task_vector")
            table.add_row(
                f"{effect.kind} {effect.stage}",
                f"{effect.known_value:+.3f}",
                _interval(effect),
                f"{row.truth:+.3f}",
                "[green]yes[/]" if row.inside else "[red]no[/]",
                str(effect.verdict),
                "–" if vector is None else f"{vector:+.3f}",
                style="bold" if _is_answer(row) else None,
            )
        console.print(Padding.indent(table, INDENT))


def _interval(effect: Effect) -> str:
    if effect.exact_by_construction:
        return "exact"
    if effect.low is None or effect.high is None:
        return "–"
    return f"{effect.low:+.3f} to {effect.high:+.3f}"


def _is_answer(row: ComparedRow) -> bool:
    """Say whether this is the row that the demo is about."""
    effect = row.effect
    return (effect.query, effect.kind, effect.stage) == (CUE, "replace", PLANTING_STAGE)


def print_disagreements(report: Report, rows: Sequence[ComparedRow], *, console: Console) -> None:
    """Say where skip and replace tell different stories, and why."""
    by_name = {(row.effect.query, row.effect.kind, row.effect.stage): row for row in rows}
    console.print(Padding.indent(Text("Where skip and replace disagree", style="bold"), INDENT))
    for query, meaning in (
        (CUE, "{steps} updates on other clean data raise it as much: its own data planted nothing"),
        (LOSS, "{steps} updates on other clean data help as much: it is not its own data"),
    ):
        for stage in report.log.stages:
            skip, replace = (by_name[query, kind, stage].effect for kind in ("skip", "replace"))
            if skip.verdict is Verdict.EFFECT and abs(skip.known_value) > 3 * abs(
                replace.known_value
            ):
                reason = meaning.format(steps=STEPS[stage])
                say(
                    f"{query}, {stage}: skip {skip.known_value:+.2f}, "
                    f"replace {replace.known_value:+.2f}. "
                    f"{reason}.",
                    console=console,
                )
    say(
        "skip takes a stage's data and its amount of training away together. replace keeps the "
        "updates and swaps the data: who planted it is answered by replace.",
        console=console,
    )


def print_telemetry(exposition: str, *, console: Console) -> None:
    """Print the metrics worth reading."""
    for line in shown_lines(exposition):
        say(line, console=console)


def print_next_steps(first: str, *, console: Console) -> None:
    """Say what to try next, after the command ``first`` that leads into the demo's folder."""
    console.print("\n[bold]Try next[/]")
    lines = [
        first,
        "stageaudit log inspect log",
        "stageaudit report show report.json",
        "stageaudit report html report.json -o report.html --key service/keys/signing.pub.pem",
        "stageaudit verify report.json log/stagelog.json model.safetensors "
        "--key service/keys/signing.pub.pem",
        "stageaudit reproduce report.json --log log --data heldout --data reference "
        "--data with-patch --data without-patch --model model.safetensors "
        "--key service/keys/signing.pub.pem",
        "stageaudit audit request.yaml --local log --estimator retrain",
        f"stageaudit audit request.yaml --local log --drop {PLANTING_STAGE}:source=vendor-b",
    ]
    for line in lines:
        console.print(f"  {line}", markup=False, soft_wrap=True)
