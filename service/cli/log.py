"""``stageaudit log``: look at a stage log, and check it.

``inspect`` reads the manifest alone and works in the base install.
"""

from typing import Any

import typer
from rich.table import Table

from auditor.edge.folder import read_log
from auditor.stagelog.digest import Digest
from auditor.stagelog.log import Stage, StageLog
from auditor.stagelog.validate import validate
from service.cli.levels import LEVELS
from service.cli.log_attach import attach
from service.cli.log_check import FolderArgument, check, refusal
from service.cli.log_estimate import estimate
from service.cli.log_import import import_log
from service.cli.log_recover import recover
from service.cli.log_redact import redact
from service.cli.output import JsonOption, console, emit, plain

app = typer.Typer(help="Look at stage logs and check them.", no_args_is_help=True)
app.command("check")(check)
app.command("attach")(attach)
app.command("estimate")(estimate)
app.command("import")(import_log)
app.command("recover")(recover)
app.command("redact")(redact)


@app.command("inspect")
def inspect_log(folder: FolderArgument, as_json: JsonOption = False) -> None:
    """Print what a log holds, from its manifest alone."""
    log, digest, _ = read_log(folder)
    validate(log)
    summary = _summary(log, digest)
    if log.origin is not None:
        summary["origin"] = log.origin.model_dump(mode="json", exclude_none=True)
    emit(summary, as_json=as_json, human=lambda: _print_summary(log, summary))


def _summary(log: StageLog, digest: Digest) -> dict[str, Any]:
    refused = refusal(log)
    return {
        "digest": digest,
        "run": log.run.model_dump(mode="json", exclude_none=True),
        "level": log.level,
        "answers": LEVELS[log.level],
        "not_treated": None if refused is None else str(refused),
        "parameters": sum(
            _size(info.shape)
            for info in log.parameters.values()
            if info.kind == "parameter" and info.tied_to is None
        ),
        "blobs": len(log.blobs()),
        "datasets": {
            name: {
                "examples": dataset.examples,
                "coverage": dataset.coverage.kind,
                "columns": list(dataset.columns),
            }
            for name, dataset in log.datasets.items()
        },
        "stages": [_stage(stage) for stage in log.stages],
    }


def _stage(stage: Stage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "kind": str(stage.kind),
        "first_step": stage.first_step,
        "end_step": stage.end_step,
        "examples_per_step": stage.examples_per_step,
        "optimizer": stage.optimizer.kind + (" (nesterov)" if stage.optimizer.nesterov else ""),
        "loss": stage.loss.kind,
        "datasets": list(stage.datasets),
        "transition": _transition(stage),
        "checkpoints": len(stage.checkpoints),
        "tokenizer": stage.tokenizer,
        "preprocessing": stage.preprocessing,
    }


def _transition(stage: Stage) -> str:
    transition = stage.transition
    parts = [f"optimizer {transition.optimizer}"]
    for field in ("added", "removed", "frozen", "unfrozen"):
        names: tuple[str, ...] = getattr(transition, field)
        parts += [f"{len(names)} {field}"] if names else []
    return ", ".join(parts)


def _print_summary(log: StageLog, summary: dict[str, Any]) -> None:
    console.print(f"[bold]{plain(log.run.name)}[/bold]  recorded {plain(log.run.created)}")
    console.print(f"log {summary['digest']}", markup=False)
    console.print(f"level {log.level}: {summary['answers']}", markup=False)
    console.print(
        f"{summary['parameters']:,} parameters, {summary['blobs']} blobs, "
        f"{plain(log.run.framework)}",
        markup=False,
    )
    if log.origin is not None:
        console.print(f"this log was {log.origin.kind}", style="yellow")
        for gap in log.origin.gaps:
            console.print(f"  {gap}", markup=False, style="yellow")
    stages = Table("stage", "kind", "steps", "batch", "optimizer", "data", "transition")
    for stage, row in zip(log.stages, summary["stages"], strict=True):
        stages.add_row(
            plain(stage.name),
            row["kind"],
            f"{stage.first_step}-{stage.end_step}",
            str(stage.examples_per_step or "?"),
            row["optimizer"],
            plain(", ".join(stage.datasets)),
            row["transition"],
        )
    console.print(stages)
    for stage in log.stages:
        for kind, digest in (
            ("tokenizer", stage.tokenizer),
            ("preprocessing", stage.preprocessing),
        ):
            if digest is not None:
                console.print(f"{kind} of {stage.name}: {digest}", markup=False)
    datasets = Table("dataset", "examples", "coverage", "columns")
    for name, dataset in log.datasets.items():
        datasets.add_row(
            plain(name),
            f"{dataset.examples:,}",
            dataset.coverage.kind,
            plain(", ".join(dataset.columns)),
        )
    console.print(datasets)
    if summary["not_treated"] is not None:
        console.print(f"cannot be replayed: {summary['not_treated']}", markup=False, style="yellow")


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
