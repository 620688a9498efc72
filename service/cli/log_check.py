"""``stageaudit log check``: form, content and, with ``--replay``, the recorded steps again.

Content needs the extra ``[log]``, the replay ``[record]``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.audit.log_verdict import (
    content_passed,
    log_verdict,
    manifest_passed,
    replay_not_passed,
    replay_passed,
)
from auditor.edge.folder import read_log
from auditor.errors import InputError, PreconditionError, UnsupportedError
from auditor.report.wording import consistency_statement
from auditor.stagelog.log import StageLog
from auditor.stagelog.validate import refuse_unsupported, validate
from service.cli.output import ExitCode, JsonOption, console, emit, progress

if TYPE_CHECKING:
    from auditor.dynamics.consistency import SegmentSample
    from auditor.plan.actions import SegmentFinding
    from auditor.stagelog.blobs import BlobStore
    from auditor.stagelog.digest import Digest

FolderArgument = Annotated[
    Path, typer.Argument(metavar="DIR", help="The folder that the recorder wrote.")
]


def check(
    log: Annotated[
        str,
        typer.Argument(
            metavar="LOG",
            help="The folder that the recorder wrote; with --server also a log's digest.",
        ),
    ],
    replay: Annotated[
        bool, typer.Option("--replay", help="Also execute every recorded step again and compare.")
    ] = False,
    sample: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="With --replay or --server: only this part of each stage's segments, drawn at "
            "random.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Drives the draw of --sample.")] = 0,
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            metavar="HOST:PORT",
            help="Replay on this service's worker; a folder is sent there first.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a log: manifest, digests, shapes, finite numbers, steps, and --replay.

    With --server the service replays the log, and refuses audits of it if that fails; form and
    content were checked when the log was sent.

    Exit codes: 0 nothing was found, 1 a replay does not reproduce its checkpoints, 7 the log
    contradicts itself or a blob is missing or damaged.
    """
    if sample is not None and not ((replay or server is not None) and sample > 0):
        raise InputError(
            "--sample",
            expected="a part above 0, together with --replay or --server",
            found=sample,
            remedy="Pass --replay --sample 0.2 to replay a fifth of the segments.",
        )
    if server is not None:
        from service.cli.log_check_remote import check_at_service

        check_at_service(log, server=server, sample=sample, seed=seed, as_json=as_json)
        return
    _check_here(Path(log), replay=replay, sample=sample, seed=seed, as_json=as_json)


def _check_here(
    folder: Path, *, replay: bool, sample: float | None, seed: int, as_json: bool
) -> None:
    log, digest, blobs = read_log(folder)
    done = _silent if as_json else _say_passed
    validate(log)
    done(manifest_passed(log))
    _check_blobs(log, blobs)
    done(content_passed(log))
    refused = refusal(log)
    if refused is not None and replay:
        raise refused
    findings: list[SegmentFinding] = []
    if replay:
        drawn = None if sample is None else _sample(sample, seed=seed)
        findings = _replay(log, digest, blobs, done=done, quiet=as_json, sample=drawn)
    why_not = None if refused is None else str(refused)
    verdict = log_verdict(log, digest, findings, not_treated=why_not)
    emit(
        verdict.model_dump(mode="json"),
        as_json=as_json,
        human=lambda: _print_findings(log, findings, why_not),
    )
    if verdict.consistent is False:
        raise typer.Exit(ExitCode.FAIL)


def _say_passed(text: str) -> None:
    console.print("[green]ok[/green]", end="  ")
    console.print(text, markup=False)


def _silent(_text: str) -> None:
    """Say nothing: the result holds it."""


def refusal(log: StageLog) -> UnsupportedError | None:
    """Return why no replay can follow a log, or None."""
    try:
        refuse_unsupported(log)
    except UnsupportedError as error:
        return error
    return None


def needs(extra: str, error: ImportError, *, command: str) -> PreconditionError:
    """Return the error of a command whose packages are not installed."""
    return PreconditionError(
        f"stageaudit {command}",
        expected=f"the packages of the extra [{extra}]",
        found=str(error),
        remedy=f"pip install 'stageaudit[{extra}]'.",
    )


def _check_blobs(log: StageLog, blobs: "BlobStore") -> None:
    try:
        from auditor.stagelog.content import check_content
    except ImportError as error:
        raise needs("log", error, command="log check") from error
    check_content(log, blobs)


def _sample(fraction: float, *, seed: int) -> "SegmentSample":
    try:
        from auditor.dynamics.consistency import SegmentSample
    except ImportError as error:
        raise needs("record", error, command="log check --replay") from error
    return SegmentSample(fraction=fraction, seed=seed)


def _replay(
    log: StageLog,
    digest: "Digest",
    blobs: "BlobStore",
    *,
    done: Callable[[str], None],
    quiet: bool,
    sample: "SegmentSample | None",
) -> "list[SegmentFinding]":
    """Return one finding a stage."""
    try:
        from auditor.dynamics.consistency import check_segment
        from auditor.dynamics.run import Run
    except ImportError as error:
        raise needs("record", error, command="log check --replay") from error
    run = Run(log, digest, blobs, device="cpu")
    findings = []
    for index, stage in enumerate(log.stages):
        with progress(f"replay {stage.name}", unit="steps", quiet=quiet) as update:
            findings.append(check_segment(run, index, on_block=update, sample=sample))
        if findings[-1].verdict == "consistent":
            done(replay_passed(log, findings[-1]))
    return findings


def _print_findings(log: StageLog, findings: "list[SegmentFinding]", refused: str | None) -> None:
    if refused is not None:
        console.print(f"cannot be replayed: {refused}", markup=False, style="yellow")
    for finding in findings:
        if finding.verdict != "consistent":
            console.print(
                replay_not_passed(log, finding),
                markup=False,
                style="bold red" if finding.verdict == "inconsistent" else "yellow",
            )
    if findings and all(finding.verdict == "consistent" for finding in findings):
        console.print(consistency_statement(tuple(findings)), markup=False)
