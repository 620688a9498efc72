"""``stageaudit repair``: the model as it would be without a stage's influence, and what changed."""

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from auditor.attest.report_subjects import LOG_SUBJECT, REPAIRED_SUBJECT
from auditor.edge.folder import BLOBS_FOLDER, LOG_FILE, FolderBlobs
from auditor.errors import InternalError
from auditor.record.new_folder import require_free
from auditor.report.schema import Report
from auditor.stagelog.digest import Digest
from service.cli.asking import Asker, asking_here, asking_there
from service.cli.connect import ServerOption
from service.cli.output import ExitCode, JsonOption, console, emit, keep, notice
from service.cli.repair_flags import RepairFlags, parse_repair
from service.cli.repair_search import Outcome, carry_out
from service.cli.repair_table import print_candidates, print_repair
from service.cli.request_file import read_request, resolve_request

STATEMENT_FILE = "repair.json"

WITHOUT = "What is taken out (several at once are one repair)"
GOALS = "What the repaired model has to meet"
HOW = "How and where it is computed"


class RepairEstimator(StrEnum):
    """Estimators that compute a model, which ``--estimator`` takes."""

    RETRAIN = "retrain"
    SUBSAMPLED_REPLAY = "subsampled_replay"


def repair(
    log: Annotated[str, typer.Argument(help="Log: a folder, or the digest of a pushed one.")],
    request: Annotated[
        Path,
        typer.Option(
            metavar="REQUEST.yaml",
            help="Its queries are evaluated before and after; its one intervention is carried out "
            "unless flags name others.",
            exists=True,
            dir_okay=False,
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="New or empty folder.", file_okay=False)],
    skip: Annotated[
        list[str] | None,
        typer.Option(metavar="STAGE", help="The stage's updates.", rich_help_panel=WITHOUT),
    ] = None,
    fade: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STAGE[=ALPHA]",
            help="All but ALPHA of them; without ALPHA the gentlest one that meets the goals is "
            "searched for.",
            rich_help_panel=WITHOUT,
        ),
    ] = None,
    replace: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STAGE=DATA",
            help="Its data; the reference in its place.",
            rich_help_panel=WITHOUT,
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(metavar="STAGE:COLUMN=VALUE", help="Those examples.", rich_help_panel=WITHOUT),
    ] = None,
    until: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'QUERY < X'", help="The query itself: 'cue < 0.1'.", rich_help_panel=GOALS
        ),
    ] = None,
    keep_: Annotated[
        list[str] | None,
        typer.Option(
            "--keep",
            metavar="'QUERY > X'",
            help="Its change, after minus before: 'accuracy > -0.01'.",
            rich_help_panel=GOALS,
        ),
    ] = None,
    estimator: Annotated[
        RepairEstimator | None,
        typer.Option(help="How the model is computed; default: retrain.", rich_help_panel=HOW),
    ] = None,
    fraction: Annotated[
        float | None,
        typer.Option(help="Part of every batch, for subsampled_replay.", rich_help_panel=HOW),
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", help="In this process, no service.", rich_help_panel=HOW)
    ] = False,
    device: Annotated[
        str, typer.Option(help="With --local: cpu, cuda:0, auto.", rich_help_panel=HOW)
    ] = "auto",
    server: ServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the model as it would be without a stage's influence, and sign what was done.

    `stageaudit repair runs/42 --request request.yaml --skip vendor --out repaired --local` writes
    `repaired.safetensors`, interchangeable with the model, and the signed `repair.json`.

    `stageaudit repair runs/42 --request request.yaml --fade vendor --until 'cue < 0.1' --keep
    'accuracy > -0.01' --out repaired` searches for the gentlest fade that does.

    An approximate model of other training; not certified unlearning, not erasure under GDPR Art.
    17; re-validate before release. The exit code is 1 when a goal is not met.
    """  # fmt: skip
    require_free(out)
    asked = parse_repair(
        read_request(request),
        RepairFlags(
            skip=tuple(skip or ()),
            fade=tuple(fade or ()),
            replace=tuple(replace or ()),
            drop=tuple(drop or ()),
            until=tuple(until or ()),
            keep=tuple(keep_ or ()),
            estimator=estimator,
            fraction=fraction,
        ),
        log=log,
    )
    places = (
        asking_here(device=device, quiet=as_json) if local else asking_there(server, quiet=as_json)
    )
    with places as asker:
        plain = resolve_request(asked.document, base=request.parent, places=asker.places)
        outcome = carry_out(asker, plain, asked=asked)
        files = _write(asker, outcome, out)
    emit(
        _result(outcome, files),
        as_json=as_json,
        human=lambda: _print(outcome, files, log=Path(log), model=plain.model is not None),
    )
    if not outcome.holds:
        raise typer.Exit(ExitCode.FAIL)


def _write(asker: Asker, outcome: Outcome, out: Path) -> dict[str, str]:
    """Write the repaired model and its statement, and return where they are."""
    if outcome.answer is None:
        return {}
    made = outcome.repair
    if made is None:
        raise InternalError(
            "report.repair", expected="a repaired model", found="none", remedy="Report this."
        )
    model = made.model
    data = asker.fetch(Digest(model.digest), size_bytes=model.size_bytes)
    keep(bytes(data), out / REPAIRED_SUBJECT)
    keep(outcome.answer.document, out / STATEMENT_FILE)
    return {"model": str(out / REPAIRED_SUBJECT), "statement": str(out / STATEMENT_FILE)}


def _result(outcome: Outcome, files: dict[str, str]) -> dict[str, Any]:
    """Return what ``--json`` prints."""
    return {
        "holds": outcome.holds,
        "files": files,
        "candidates": [
            {
                "alpha": candidate.alpha,
                "before": dict(candidate.before),
                "after": dict(candidate.after),
                "met": candidate.meets_all(outcome.goals),
            }
            for candidate in outcome.candidates
        ],
        "best": None if outcome.best is None else outcome.best.alpha,
        "report": None
        if outcome.answer is None
        else outcome.answer.report.model_dump(mode="json", by_alias=True, exclude_none=True),
    }


def _print(outcome: Outcome, files: dict[str, str], *, log: Path, model: bool) -> None:
    if outcome.candidates and outcome.best is not None:
        print_candidates(outcome.candidates, outcome.goals, best=outcome.best, console=console)
    if outcome.answer is None:
        return
    print_repair(outcome.answer.report, console=console)
    notice(outcome.answer.note)
    console.print()
    console.print("Compare the files with the statement:", style="dim")
    command = _verify_command(outcome.answer.report, files, log=log)
    console.print(
        command + (" model.safetensors=MODEL" if model else ""), markup=False, soft_wrap=True
    )


def _verify_command(report: Report, files: dict[str, str], *, log: Path) -> str:
    words = ["stageaudit", "verify", files["statement"], files["model"]]
    manifest = log / LOG_FILE
    if not manifest.is_file():
        words += ["--allow-missing", LOG_SUBJECT]
    else:
        words.append(str(manifest))
        if report.model.source == "final checkpoint":
            checkpoint = FolderBlobs(log / BLOBS_FOLDER).path(Digest(report.model.digest))
            words.append(f"model.safetensors={checkpoint}")
    return shlex.join(words)
