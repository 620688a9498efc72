"""``stageaudit log recover``: a log of what a training left behind that did not end."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.log_check import needs
from service.cli.output import JsonOption, console, emit


def recover(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder that the recorder was writing.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Make a valid log of a recording that was cut off by a crash or a full disk.

    Kept are all finished stages and the steps up to the last checkpoint of the open one. What is
    missing is said here and in the manifest.
    """
    try:
        from auditor.record.recover import recover as recover_folder
    except ImportError as error:
        raise needs("record", error, command="log recover") from error
    result = recover_folder(folder)
    stages = [
        {"name": stage.name, "first_step": stage.first_step, "end_step": stage.end_step}
        for stage in result.log.stages
    ]
    answer = {
        "digest": result.digest,
        "level": result.log.level,
        "stages": stages,
        "gaps": list(result.gaps),
        "notes": None if result.kept_journal is None else str(result.kept_journal),
    }

    def tell() -> None:
        console.print(f"log {result.digest}", markup=False)
        for stage in stages:
            console.print(
                f"kept: stage {stage['name']}, steps {stage['first_step']} to "
                f"{int(str(stage['end_step'])) - 1}",
                markup=False,
            )
        for gap in result.gaps:
            console.print(f"not whole: {gap}", markup=False, style="yellow")
        if not result.gaps:
            console.print("nothing is missing: the recording had ended")
        if result.kept_journal is not None:
            console.print(f"notes of all steps are kept in {result.kept_journal}", markup=False)
        console.print(f"next: stageaudit log check {folder} --replay", markup=False)

    emit(answer, as_json=as_json, human=tell)
