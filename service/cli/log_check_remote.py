"""``stageaudit log check --server``: the same check, on a service's worker."""

from __future__ import annotations

from pathlib import Path

import typer

from auditor.audit.log_verdict import LogVerdict
from auditor.edge.folder import LOG_FILE
from auditor.errors import InputError
from auditor.stagelog.digest import Digest, parse_digest
from service.cli.connect import connect
from service.cli.output import ExitCode, console, emit, notice, progress


def check_at_service(
    target: str, *, server: str, sample: float | None, seed: int, as_json: bool
) -> None:
    """Check a log that a service holds, or send a folder first.

    Args:
        target: A log folder, the digest of a log, or its name at the service.
        server: The service.
        sample: Replay only this part of each stage's segments.
        seed: Drives the draw.
        as_json: Print JSON.

    Raises:
        typer.Exit: With code 1 if the log contradicts itself.
        AuditorError: The error that the check ended with.
    """
    from service.cli.remote_audit import cancelled_on_interrupt

    with connect(server) as client:
        folder = Path(target)
        if (folder / LOG_FILE).is_file():
            with progress(f"log {folder.name}", unit="bytes", quiet=as_json) as update:
                digest = client.push_log(folder, on_progress=update)
        else:
            digest = _digest(target)
        check = client.check_log(digest, sample=sample, seed=seed)
        with (
            cancelled_on_interrupt(client, check),
            progress("replaying", unit="stages", quiet=as_json) as update,
        ):
            notice(f"checking as {check}; Ctrl-C cancels")
            verdict: LogVerdict | None = None
            for step in client.watch_check(check):
                update(step.done, step.total)
                verdict = step.verdict
        if verdict is None:  # the loop ends with a verdict or an error
            raise typer.Exit(ExitCode.AUDIT_FAILED)
        causes = client.get_log(digest).get("causes", [])
    emit(
        verdict.model_dump(mode="json"),
        as_json=as_json,
        human=lambda: _print(verdict, causes),
    )
    if verdict.consistent is False:
        raise typer.Exit(ExitCode.FAIL)


def _digest(target: str) -> Digest:
    try:
        return parse_digest(target.rpartition("/")[2], where="log")
    except InputError as error:
        raise InputError(
            target,
            expected=f"a folder with {LOG_FILE}, or the digest of a log that the service holds",
            found="neither",
            remedy="`stageaudit push DIR` prints the digest.",
        ) from error


def _print(verdict: LogVerdict, causes: list[str]) -> None:
    for text in verdict.passed:
        console.print("[green]ok[/green]", end="  ")
        console.print(text, markup=False)
    if verdict.consistent is False:
        for cause in causes:
            console.print(cause, markup=False, style="bold red")
        console.print("the service refuses audits of this log from now on", style="bold red")
    else:
        console.print(verdict.statement, markup=False)
