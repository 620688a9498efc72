"""``stageaudit log``: look at a stage log, and check it.

``inspect`` reads the manifest alone and works in the base install; ``check`` opens every blob
(extra ``[log]``), and with ``--replay`` executes the recorded steps again (extra ``[record]``).
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from auditor.edge.folder import read_log
from auditor.errors import PreconditionError, UnsupportedError
from auditor.report.wording import consistency_statement
from auditor.stagelog.log import Stage, StageLog
from auditor.stagelog.validate import refuse_unsupported, validate
from service.cli.output import ExitCode, JsonOption, console, emit, progress

if TYPE_CHECKING:
    from auditor.plan.actions import SegmentFinding
    from auditor.stagelog.blobs import BlobStore
    from auditor.stagelog.digest import Digest

LEVELS = {
    0: "boundary checkpoints: checkpoint_delta, task_vector",
    1: "also schedules and optimizer states; batches or data are not complete",
    2: "also every batch and all data: every estimator, log consistency, sources",
}
"""What a log of each level can answer."""

FolderArgument = Annotated[
    Path, typer.Argument(metavar="DIR", help="The folder that the recorder wrote.")
]

app = typer.Typer(help="Look at stage logs and check them.", no_args_is_help=True)


@app.command("inspect")
def inspect_log(folder: FolderArgument, as_json: JsonOption = False) -> None:
    """Print what a log holds, from its manifest alone."""
    log, digest, _ = read_log(folder)
    validate(log)
    summary = _summary(log, digest)
    emit(summary, as_json=as_json, human=lambda: _print_summary(log, summary))


@app.command()
def check(
    folder: FolderArgument,
    replay: Annotated[
        bool, typer.Option("--replay", help="Also execute every recorded step again and compare.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a log: manifest, digests, shapes, finite numbers, steps, and --replay.

    Exit codes: 0 nothing was found, 1 a replay does not reproduce its checkpoints, 7 the log
    contradicts itself or a blob is missing or damaged.
    """
    log, digest, blobs = read_log(folder)
    passed: list[str] = []

    def done(text: str) -> None:
        passed.append(text)
        if not as_json:
            console.print(f"[green]ok[/green]  {text}")

    validate(log)
    done(f"manifest: {len(log.stages)} stages, {log.stages[-1].end_step - log.start.step} steps")
    _check_blobs(log, blobs)
    done(f"blobs: {len(log.blobs())} present, digests, shapes and numbers as the manifest says")
    refused = _refusal(log)
    if refused is not None and replay:
        raise refused
    findings = _replay(log, digest, blobs, done=done, quiet=as_json) if replay else []
    consistent = all(finding.verdict != "inconsistent" for finding in findings)
    result = {
        "digest": digest,
        "level": log.level,
        "passed": passed,
        "not_treated": None if refused is None else str(refused),
        "segments": [finding.model_dump(mode="json") for finding in findings],
        "consistent": consistent if findings else None,
    }
    emit(result, as_json=as_json, human=lambda: _print_findings(log, findings, refused))
    if not consistent:
        raise typer.Exit(ExitCode.FAIL)


def _check_blobs(log: StageLog, blobs: "BlobStore") -> None:
    try:
        from auditor.stagelog.content import check_content
    except ImportError as error:
        raise _needs("log", error) from error
    check_content(log, blobs)


def _replay(
    log: StageLog,
    digest: "Digest",
    blobs: "BlobStore",
    *,
    done: Callable[[str], None],
    quiet: bool,
) -> "list[SegmentFinding]":
    """Return one finding a stage."""
    try:
        from auditor.dynamics.consistency import check_segment
        from auditor.dynamics.run import Run
    except ImportError as error:
        raise _needs("record", error) from error
    run = Run(log, digest, blobs, device="cpu")
    findings = []
    for index, stage in enumerate(log.stages):
        with progress(f"replay {stage.name}", unit="steps", quiet=quiet) as update:
            findings.append(check_segment(run, index, on_block=update))
        if findings[-1].verdict == "consistent":
            done(
                f"replay {stage.name}: deviation {findings[-1].deviation:.1e}, "
                f"tolerance {findings[-1].tolerance:.1e}"
            )
    return findings


def _refusal(log: StageLog) -> UnsupportedError | None:
    try:
        refuse_unsupported(log)
    except UnsupportedError as error:
        return error
    return None


def _summary(log: StageLog, digest: "Digest") -> dict[str, Any]:
    refused = _refusal(log)
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
    }


def _transition(stage: Stage) -> str:
    transition = stage.transition
    parts = [f"optimizer {transition.optimizer}"]
    for field in ("added", "removed", "frozen", "unfrozen"):
        names: tuple[str, ...] = getattr(transition, field)
        parts += [f"{len(names)} {field}"] if names else []
    return ", ".join(parts)


def _print_summary(log: StageLog, summary: dict[str, Any]) -> None:
    console.print(f"[bold]{_plain(log.run.name)}[/bold]  recorded {_plain(log.run.created)}")
    console.print(f"log {summary['digest']}", markup=False)
    console.print(f"level {log.level}: {summary['answers']}", markup=False)
    console.print(
        f"{summary['parameters']:,} parameters, {summary['blobs']} blobs, "
        f"{_plain(log.run.framework)}",
        markup=False,
    )
    stages = Table("stage", "kind", "steps", "batch", "optimizer", "data", "transition")
    for stage, row in zip(log.stages, summary["stages"], strict=True):
        stages.add_row(
            _plain(stage.name),
            row["kind"],
            f"{stage.first_step}-{stage.end_step}",
            str(stage.examples_per_step or "?"),
            row["optimizer"],
            _plain(", ".join(stage.datasets)),
            row["transition"],
        )
    console.print(stages)
    datasets = Table("dataset", "examples", "coverage", "columns")
    for name, dataset in log.datasets.items():
        datasets.add_row(
            _plain(name),
            f"{dataset.examples:,}",
            dataset.coverage.kind,
            _plain(", ".join(dataset.columns)),
        )
    console.print(datasets)
    if summary["not_treated"] is not None:
        console.print(f"cannot be replayed: {summary['not_treated']}", markup=False, style="yellow")


def _print_findings(
    log: StageLog, findings: "list[SegmentFinding]", refused: UnsupportedError | None
) -> None:
    if refused is not None:
        console.print(f"cannot be replayed: {refused}", markup=False, style="yellow")
    for finding in findings:
        if finding.verdict == "consistent":
            continue
        console.print(
            f"{finding.verdict}: replay {log.stages[finding.stage].name}: deviation "
            f"{finding.deviation:.1e}, tolerance {finding.tolerance:.1e}, amplification "
            f"{finding.amplification:.1e}, most in {finding.worst}",
            markup=False,
            style="bold red" if finding.verdict == "inconsistent" else "yellow",
        )
    if findings and all(finding.verdict == "consistent" for finding in findings):
        console.print(consistency_statement(tuple(findings)), markup=False)


def _needs(extra: str, error: ImportError) -> PreconditionError:
    return PreconditionError(
        "stageaudit log check",
        expected=f"the packages of the extra [{extra}]",
        found=str(error),
        remedy=f"pip install 'stageaudit[{extra}]'.",
    )


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def _plain(text: str) -> str:
    """Return text from a file without what a terminal or rich would interpret."""
    return "".join(c for c in text if c.isprintable()).replace("[", "\\[")
