"""``stageaudit verify``: is this report signed by a key I trust, and about the files I hold?

No torch, no network. Exit codes: 0 verified, 2 usage, 3 signature, 4 subject, 7 refused input.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from auditor.attest.verify import CHECKS, Check, Verification, verify_bundle
from auditor.errors import VerificationError, printable
from service.cli.bundle_reader import read_bundle
from service.cli.output import JsonOption, console, emit
from service.cli.trusting import KeyOption, TrustOption, chosen_trust, digests_of


def verify(
    bundle: Annotated[Path, typer.Argument(help="The signed report.", exists=True, dir_okay=False)],
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE|NAME=FILE]...",
            help="Files the report is about. With any file, every subject must match one.",
        ),
    ] = None,
    trust: TrustOption = None,
    key: KeyOption = None,
    allow_missing: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A subject you do not have; may be given repeatedly."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a signed report offline: keys, signature, types, contents and files."""
    passed: list[Check] = []
    keys = chosen_trust(trust, key)
    digests = digests_of(files or ())
    try:
        verification = verify_bundle(
            read_bundle(bundle),
            keys,
            files=digests,
            allow_missing=frozenset(allow_missing or ()),
            on_check=passed.append,
        )
    except VerificationError:
        failed = CHECKS[len(passed)]
        emit(
            {"verified": False, "checks": _plain(passed), "failed": failed},
            as_json=as_json,
            human=lambda: _print_failure(passed, failed),
        )
        raise
    emit(_result(verification), as_json=as_json, human=lambda: _print_success(verification))


def _plain(checks: Sequence[Check]) -> list[dict[str, Any]]:
    return [{"number": c.number, "name": c.name, "detail": c.detail} for c in checks]


def _result(verification: Verification) -> dict[str, Any]:
    """Return what ``--json`` prints."""
    report = verification.report
    return {
        "verified": True,
        "report_id": verification.report_id,
        "key": {"keyid": verification.key.keyid, "name": verification.key.name},
        "checks": _plain(verification.checks),
        "subjects": [
            {"name": s.name, "digest": s.digest, "outcome": s.outcome}
            for s in verification.subjects
        ],
        "assurance": report.assurance,
        "limitations": [limitation.model_dump(mode="json") for limitation in report.limitations],
    }


def _print_checks(checks: Sequence[Check]) -> None:
    for check in checks:
        console.print(f"[green]ok[/] {check.number} {check.name}: ", end="")
        _print_text(check.detail)


def _print_failure(passed: Sequence[Check], failed: str) -> None:
    _print_checks(passed)
    console.print(f"[bold red]no[/] {len(passed) + 1} {failed}")


def _print_success(verification: Verification) -> None:
    report = verification.report
    _print_checks(verification.checks)
    console.print(f"\n[bold green]Verified[/] report {verification.report_id}")
    signed = "" if report.run is None else f", dated {report.run.created}"
    _print_text(f"signed by {verification.key.name}{signed}; assurance: {report.assurance}")
    _print_text(report.log.consistency_statement)
    if report.repair is not None:
        _print_text(f"repaired model {report.repair.model.digest}: {report.repair.statement}")
        for row in report.repair.queries:
            _print_text(f"{row.query}: {row.before:.4g} before, {row.after:.4g} after ({row.unit})")
    if report.limitations:
        console.print("\n[bold]What the figures do not say[/]")
    for limitation in report.limitations:
        _print_text(f"- {limitation.text} [{limitation.id}]")


def _print_text(text: str) -> None:
    """Print text that others wrote, without what a terminal would obey."""
    console.print(printable(text), markup=False, soft_wrap=True)
