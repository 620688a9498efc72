"""What ``stageaudit quick`` prints: a row for each stage, what it means, what to record."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from auditor.effects import Effect
from auditor.report.schema import Report
from auditor.stagelog.log import StageLog

if TYPE_CHECKING:
    from auditor.record.text_evalset import TextColumns

ANSWERS = (
    "checkpoint_delta: how the value changed from the checkpoint before the stage to the one after "
    "it. Of the last stage this is exactly what skipping it would have changed.",
    "task_vector: how the value would change if the stage's change of the weights were subtracted "
    "from the final model.",
)
CANNOT = (
    "What skipping an earlier stage would have changed: later stages would have trained from other "
    "weights. Such rows are not resolved, however large their figures.",
    "Which data, source or step of a stage is responsible, and what other data would have done.",
    "How far a rerun of the training would differ.",
)
RECORD = (
    "Record the next run with auditor.record (docs/howto/record.md): batches by index, optimizer "
    "states and rates at 1 % of the training's time; then every stage can be answered with "
    "intervals.",
    "Until then keep, for every stage: the checkpoint right after its head or adapter was added, "
    "the one at its end with optimizer.pt and trainer_state.json, the data files in order, and the "
    "seed.",
)


def quick_summary(
    report: Report, log: StageLog, *, texts: "TextColumns", architecture: str
) -> dict[str, Any]:
    """Return the figures of a report of level 0, and what they can and cannot say."""
    return {
        "model": architecture,
        "data": {
            "examples": report.effects[0].n,
            "tokens": texts.length,
            "truncated": texts.truncated,
        },
        "log": report.log.digest,
        "level": log.level,
        "queries": [
            {
                "query": query.query,
                "unit": query.unit,
                "better": str(query.better),
                "value": query.value,
                "stages": _rows(
                    [effect for effect in report.effects if effect.query == query.query],
                    log,
                    value=query.value,
                ),
            }
            for query in report.queries
        ],
        "answers": list(ANSWERS),
        "cannot_answer": list(CANNOT),
        "record_next_time": list(RECORD),
        "gaps": list(log.origin.gaps if log.origin is not None else ()),
    }


def _rows(effects: Sequence[Effect], log: StageLog, *, value: float) -> list[dict[str, Any]]:
    return [
        {
            "stage": stage.name,
            "checkpoint_delta": effect.value,
            "task_vector": effect.baselines.get("task_vector"),
            "exact": effect.exact_by_construction,
            "without": value - effect.value
            if effect.exact_by_construction and effect.value is not None
            else None,
            "verdict": str(effect.verdict),
        }
        for stage, effect in zip(log.stages, effects, strict=True)
    ]


def print_quick(summary: Mapping[str, Any], *, console: Console) -> None:
    """Print the summary for people."""
    data = summary["data"]
    console.print(
        f"{summary['model']} on {data['examples']} examples of {data['tokens']} tokens; "
        f"a log of level {summary['level']}, made from checkpoints",
        markup=False,
    )
    for query in summary["queries"]:
        console.print(_table(query))
    _print_list(console, "What these figures are", summary["answers"])
    _print_list(console, "What they cannot answer", summary["cannot_answer"])
    _print_list(console, "What to record next time", summary["record_next_time"])
    _print_list(console, "Not recorded", summary["gaps"])


def _table(query: Mapping[str, Any]) -> Table:
    table = Table(
        title=f"{escape(query['query'])} = {query['value']:.4g} {query['unit']} "
        f"({query['better']} is better)",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("stage", overflow="fold")
    for heading in ("checkpoint_delta", "task_vector"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("had it been skipped", no_wrap=True)
    for row in query["stages"]:
        table.add_row(
            escape(row["stage"]),
            _signed(row["checkpoint_delta"]),
            _signed(row["task_vector"]),
            row["verdict"] if row["without"] is None else f"{row['without']:.4g}, exactly",
        )
    return table


def _signed(value: float | None) -> str:
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return "–" if value is None else f"{round(value, 4) + 0.0:+.4f}"


def _print_list(console: Console, heading: str, texts: Sequence[str]) -> None:
    if texts:
        console.print()
        console.print(heading, style="bold")
        for text in texts:
            console.print(f"- {text}", markup=False)
