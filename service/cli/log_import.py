"""``stageaudit log import``: a log from checkpoints, for a run that nobody recorded."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import typer

from auditor.checks import needs_extra
from auditor.edge.folder import LOG_FILE
from auditor.errors import ConflictError
from auditor.stagelog.digest import digest_of
from auditor.stagelog.log import StageLog
from service.cli.export import LengthOption
from service.cli.import_sources import parse_sources
from service.cli.levels import LEVELS
from service.cli.output import JsonOption, console, emit, notice

AddedOption = Annotated[
    Literal["refuse", "zeros"],
    typer.Option(
        help="Parameters that the checkpoint before a stage lacks, such as a new head: refuse, or "
        "let them begin at 0."
    ),
]
CheckpointsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="[NAME=]CHECKPOINT...",
        help="In the order of the training: the one before the first stage, then one for each "
        "stage's end.",
        show_default=False,
    ),
]


def import_log(
    checkpoints: CheckpointsArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Receives the log.")
    ],
    graph: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Exported model of all checkpoints; needed where none is a Hugging Face folder.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    added: AddedOption = "refuse",
    length: LengthOption = None,
    run_name: Annotated[
        str | None, typer.Option(help="What reports call the run; default: the last stage.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a stage log of checkpoints: Hugging Face folders, adapters, .ckpt, .pt, .safetensors.

    `stageaudit log import base sft=runs/sft final=runs/dpo -o log` makes a log of two stages, with
    the boundaries that were saved, steps and learning rates where the trainer noted them, and a
    list of what is missing. Such a log answers checkpoint_delta and task_vector.

    Pickled checkpoints are read on this machine, in a child process that runs nothing of them.
    """
    sources = parse_sources(checkpoints)
    if (output / LOG_FILE).exists():
        raise ConflictError(
            str(output / LOG_FILE),
            expected="a folder without a log",
            found="a log",
            remedy="Name another folder.",
        )
    with needs_extra("record", purpose="Importing checkpoints"):
        from service.checkpoint_import import Importer, import_checkpoints
    with TemporaryDirectory(prefix="stageaudit-import-") as scratch:
        log = import_checkpoints(
            sources,
            output,
            importer=Importer(
                scratch=Path(scratch),
                graph=graph,
                length=length,
                on_progress=lambda text: None if as_json else notice(text),
            ),
            added=added,
            run_name=run_name or sources[-1].name,
        )
    summary = summary_of(log, output)
    emit(summary, as_json=as_json, human=lambda: _print(log, summary))


def summary_of(log: StageLog, folder: Path) -> dict[str, Any]:
    """Return what an imported log holds, and what it does not."""
    return {
        "log": digest_of(log),
        "folder": str(folder),
        "level": log.level,
        "answers": LEVELS[log.level],
        "stages": [
            {
                "name": stage.name,
                "steps": stage.steps,
                "level": 0 if stage.schedule is None else 1,
                "optimizer": stage.optimizer.kind,
            }
            for stage in log.stages
        ],
        "gaps": list(log.origin.gaps if log.origin is not None else ()),
    }


def _print(log: StageLog, summary: dict[str, Any]) -> None:
    console.print(f"log {summary['log']} in {summary['folder']}", markup=False)
    console.print(f"level {log.level}: {summary['answers']}", markup=False)
    for stage in summary["stages"]:
        console.print("  {name}: {steps} steps, level {level}".format(**stage), markup=False)
    console.print("Not recorded:", style="bold")
    for gap in summary["gaps"]:
        console.print(f"- {gap}", markup=False)
