"""``stageaudit policy``: what a gate's rules say, and whether they hold still."""

from pathlib import Path
from typing import Annotated

import typer

from auditor.policy.flapping import flapping
from auditor.stagelog.digest import digest_of
from service.cli.bundle_reader import open_bundle, read_bundle, user_trust
from service.cli.output import JsonOption, console, emit, notice
from service.cli.policy_file import read_policy

app = typer.Typer(no_args_is_help=True, help="Check the policies that `stageaudit gate` applies.")


@app.callback()
def _group() -> None:
    """Keep `check` a command by its name: typer runs an only command without one."""


@app.command()
def check(
    policy: Annotated[Path, typer.Argument(help="The policy, YAML.")],
    report: Annotated[
        Path | None,
        typer.Option(help="Warn where a bound lies inside the noise of this report's effects."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a policy file, and print the digest that an audit request may name beforehand."""
    rules = read_policy(policy)
    warnings: tuple[str, ...] = ()
    if report is not None:
        opened = open_bundle(read_bundle(report), trust=user_trust())
        warnings = flapping(rules, opened.content)
        notice(opened.note)
    digest = digest_of(rules)

    def human() -> None:
        console.print(
            f"policy {rules.name}, {len(rules.rules)} rules, digest {digest}", markup=False
        )
        for warning in warnings:
            console.print(f"warning: {warning}", markup=False, style="yellow", soft_wrap=True)

    emit(
        {"name": rules.name, "rules": len(rules.rules), "digest": digest, "warnings": warnings},
        as_json=as_json,
        human=human,
    )
