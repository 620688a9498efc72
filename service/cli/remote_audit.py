"""An audit at a service: its data sent, its progress shown, cancelled on Ctrl-C."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, final

from rich.table import Table

from auditor.stagelog.digest import Digest
from service.cli.bundle_reader import OpenedReport, open_bundle, user_trust
from service.cli.evaluation_folder import open_evaluation_set
from service.cli.output import console, emit, notice, progress

if TYPE_CHECKING:
    from service.client import Client
    from service.pb.v1.audit_pb2 import PlanAuditResponse


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


def follow(client: Client, name: str, *, quiet: bool) -> Digest:
    """Show an audit's progress until it ends, and return its report's digest.

    Ctrl-C cancels the audit at the service before it ends this process.

    Raises:
        AuditorError: What the audit failed with.
        NumericalError: If somebody cancelled it.
        KeyboardInterrupt: After the cancellation was sent.
    """
    try:
        with progress("auditing", unit="actions", quiet=quiet) as update:
            for event in client.watch_audit(name):
                update(event.progress.done, event.progress.actions)
        return client.wait(name)
    except KeyboardInterrupt:
        client.cancel(name)
        notice(f"cancelled {name}; what it has finished is kept for the next audit")
        raise


def fetch_report(client: Client, digest: Digest) -> OpenedReport:
    """Return a report and what is known about its signature."""
    return open_bundle(client.get_report(digest), trust=user_trust())


def emit_plan(plan: PlanAuditResponse, *, as_json: bool) -> None:
    """Print what an audit would compute: actions by kind, how many are cached."""
    kinds = sorted({action.kind for action in plan.actions})
    rows = {
        kind: {
            "actions": sum(action.kind == kind for action in plan.actions),
            "cached": sum(action.kind == kind and action.cached for action in plan.actions),
            "gradient_examples": sum(
                action.gradient_examples for action in plan.actions if action.kind == kind
            ),
        }
        for kind in kinds
    }

    def human() -> None:
        table = Table("action", "planned", "cached", "gradient-examples", box=None)
        for kind, row in rows.items():
            table.add_row(kind, *(str(row[name]) for name in row))
        console.print(table)
        console.print(
            f"{plan.actions_to_run} actions to run, {plan.gradient_examples} gradient-examples"
        )

    emit(
        {
            "request": plan.request_digest,
            "actions": rows,
            "actions_to_run": plan.actions_to_run,
            "gradient_examples": str(plan.gradient_examples),
        },
        as_json=as_json,
        human=human,
    )
