"""An audit at a service: its data sent, its progress shown, cancelled on Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from signal import SIGINT, signal
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, final

import typer
from rich.markup import escape
from rich.table import Table

from auditor.errors import AuditorError
from auditor.plan.footprint import shown_bytes
from auditor.stagelog.digest import Digest, parse_digest
from service.cli.audit_progress import audit_progress
from service.cli.bundle_reader import OpenedReport, open_bundle, user_trust
from service.cli.evaluation_folder import open_evaluation_set
from service.cli.output import ExitCode, console, emit, notice, progress, say_error
from service.cli.time_words import bound_of, time_left

if TYPE_CHECKING:
    from types import FrameType

    from service.client import Client


@final
class RemotePlaces:
    """Sends the data of a request to a service; what is there already is not sent again.

    Args:
        client: The service.
        scratch: Where an ``.npz`` becomes a folder.
        quiet: Show no progress.
    """

    def __init__(self, client: Client, *, scratch: Path, quiet: bool) -> None:
        self._client = client
        self._scratch = scratch
        self._quiet = quiet

    def log(self, folder: Path) -> Digest:
        """Send a log and return its identity."""
        with progress(f"log {folder.name}", unit="bytes", quiet=self._quiet) as update:
            return self._client.push_log(folder, on_progress=update)

    def evaluation_set(self, path: Path) -> Digest:
        """Send an evaluation set and return its identity."""
        found = open_evaluation_set(path, scratch=self._scratch)
        with progress(f"data {path.name}", unit="bytes", quiet=self._quiet) as update:
            return self._client.push_evaluation_set(found.path, on_progress=update)

    def model(self, path: Path) -> Digest:
        """Send a model and return its digest."""
        with progress(f"model {path.name}", unit="bytes", quiet=self._quiet) as update:
            return self._client.push_model(path, on_progress=update)

    def metric(self, path: Path) -> Digest:
        """Send the ONNX graph of a metric and return its digest."""
        with progress(f"metric {path.name}", unit="bytes", quiet=self._quiet) as update:
            return self._client.push_blob(path, on_progress=update)


def follow(client: Client, name: str, *, quiet: bool) -> Digest:
    """Show an audit's progress until it ends, and return its report's digest.

    Raises:
        typer.Exit: With code 9 when it failed or somebody cancelled it; the reason is printed.
    """
    with audit_progress(quiet=quiet) as show:
        for event in client.watch_audit(name):
            if "progress" in event:
                show(event["progress"])
    audit = client.get_audit(name)
    if audit["state"] == "succeeded":
        return parse_digest(audit["report"].rpartition("/")[2], where="audit.report")
    detail = audit.get("error") or {
        "code": "CANCELLED",
        "where": name,
        "expected": "an audit that runs to its end",
        "found": audit["state"],
        "remedy": "Ask again: what it has finished is kept.",
    }
    say_error(detail, code=ExitCode.AUDIT_FAILED, as_json=quiet)
    raise typer.Exit(ExitCode.AUDIT_FAILED)


@contextmanager
def cancelled_on_interrupt(client: Client, name: str) -> Iterator[None]:
    """Let Ctrl-C inside the block cancel the audit at the service; a second one ends at once.

    The signal only starts the cancellation, and the block ends because the audit does. An
    exception raised wherever the signal happens to arrive could be lost inside gRPC.

    Yields:
        Nothing.

    Raises:
        KeyboardInterrupt: When the block has ended, if there was a Ctrl-C.
    """
    interrupted = Event()

    def cancel() -> None:
        try:
            client.cancel(name)
            notice(f"cancelled {name}; what it has finished is kept for the next audit")
        except AuditorError as error:
            notice(f"not cancelled: {error}")

    def on_interrupt(_number: int, _frame: FrameType | None) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()
        Thread(target=cancel, name="cancel", daemon=True).start()

    before = signal(SIGINT, on_interrupt)
    try:
        yield
    except (AuditorError, typer.Exit):
        if not interrupted.is_set():
            raise
    finally:
        signal(SIGINT, before)
    if interrupted.is_set():
        raise KeyboardInterrupt


def emit_standing(client: Client, name: str, *, as_json: bool) -> None:
    """Print where an audit stands now, and how long it will still take where that is known."""
    audit = client.get_audit(name)

    def human() -> None:
        done = audit["progress"]
        line = f"{audit['state']}: {done['done']} of {done['actions']} actions"
        if "seconds_left" in done:
            line += f", {time_left(done['seconds_left'], bound=bound_of(done))}"
        console.print(line, markup=False)

    emit(audit, as_json=as_json, human=human)


def fetch_report(client: Client, digest: Digest) -> OpenedReport:
    """Return a report and what is known about its signature."""
    return open_bundle(client.get_report(digest), trust=user_trust())


def memory_line(memory: Mapping[str, Any]) -> str:
    """Return one line about the device memory that a plan should need."""
    budget = memory.get("budget_bytes")
    return (
        f"device memory: {shown_bytes(int(memory['lane_bytes']))} for the largest action alone, "
        f"{shown_bytes(int(memory['group_bytes']))} for the largest group "
        f"({memory['group_lanes']} lanes)"
        + ("" if budget is None else f", of {shown_bytes(int(budget))}")
    )


def emit_plan(plan: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what an audit would compute: actions by kind, how many are cached."""
    actions = plan["actions"]
    rows = {
        kind: {
            "planned": len(same),
            "cached": sum(action["cached"] for action in same),
            "gradient_examples": sum(action["gradient_examples"] for action in same),
        }
        for kind in sorted({action["kind"] for action in actions})
        if (same := [action for action in actions if action["kind"] == kind])
    }

    relative = plan.get("retraining_relative")
    complete = "report" in rows

    def human() -> None:
        table = Table("action", "planned", "cached", "gradient-examples", box=None)
        for kind, row in rows.items():
            table.add_row(kind, *map(str, row.values()))
        console.print(table)
        console.print(
            f"{'' if complete else 'at least '}{plan['actions_to_run']} actions to run, "
            f"{plan['gradient_examples']} gradient-examples"
            + ("" if relative is None else f", {relative:.2f} × exact retraining")
        )
        console.print(memory_line(plan["memory"]))
        if not complete:
            console.print("auto decides on more when these are finished; --budget bounds them all")
        smallest = Table("query", "smallest effect it could show", "", box=None)
        for found in plan["queries"]:
            size = found.get("detectable_effect")
            text = "unknown" if size is None else f"{size:.3g} {found['unit']}"
            smallest.add_row(escape(found["query"]), text, found["note"])
        console.print(smallest)

    emit(
        {
            "request": plan["request_digest"],
            "actions": rows,
            "actions_to_run": plan["actions_to_run"],
            "complete": complete,
            "gradient_examples": str(plan["gradient_examples"]),
            "retraining_relative": relative,
            "memory": {name: int(value) for name, value in plan["memory"].items()},
            "queries": plan["queries"],
        },
        as_json=as_json,
        human=human,
    )
