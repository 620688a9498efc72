"""``stageaudit``: the entry point, which loads only the command that was asked for."""

import importlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from auditor.errors import AuditorError
from service.cli.output import ExitCode, console, fail

COMMANDS: Mapping[str, str] = {
    "demo": "service.cli.demo:demo",
    "quick": "service.cli.quick:quick",
    "data": "service.cli.data:app",
    "doctor": "service.cli.doctor:doctor",
    "serve": "service.cli.serve:serve",
    "export": "service.cli.export:export",
    "push": "service.cli.push:push",
    "audit": "service.cli.audit:audit",
    "watch": "service.cli.watch:watch",
    "cancel": "service.cli.cancel:cancel",
    "top": "service.cli.top:top",
    "report": "service.cli.report:app",
    "repair": "service.cli.repair:repair",
    "bisect": "service.cli.bisect:bisect",
    "verify": "service.cli.verify:verify",
    "timestamp": "service.cli.timestamp:timestamp",
    "review": "service.cli.review:review",
    "waive": "service.cli.waive:waive",
    "gate": "service.cli.gate:gate",
    "compare": "service.cli.compare:compare",
    "reproduce": "service.cli.reproduce:reproduce",
    "policy": "service.cli.policy:app",
    "keys": "service.cli.keys:app",
    "log": "service.cli.log:app",
    "estimators": "service.cli.estimators:estimators",
    "queries": "service.cli.queries:queries",
}
"""Every command: a function, or a typer app of subcommands, by module and name."""

HELP = """Which training stage is responsible for this behaviour of the model?

Record a staged training, push its log, ask for an audit, get a signed report.

Start with `stageaudit demo`; `stageaudit doctor` checks the installation.
"""

EPILOG = (
    "Exit codes: 0 ok, 1 fail, 2 usage, 3 signature, 4 subject, 6 investigate, 7 refused input, "
    "8 unreachable, 9 audit failed, 10 policy or 11 baseline does not fit, 12 review missing, "
    "13 back-dated, 20 other figures, 21 no longer reproducible, 22 not comparable, "
    "130 interrupted."
)


def _print_version(value: bool) -> None:
    if value:
        try:
            console.print(version("stageaudit"), markup=False)
        except PackageNotFoundError:
            console.print("not installed: running from a source folder", markup=False)
        raise typer.Exit


def _root(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Hold the options that come before a command."""


def build(names: Iterable[str]) -> typer.Typer:
    """Return the application with the named commands, whose modules are imported here."""
    app = typer.Typer(
        help=HELP,
        epilog=EPILOG,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in names:
        module, _, attribute = COMMANDS[name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def wanted(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the commands to load: the one asked for, or all for help and for typing errors."""
    first = next((argument for argument in arguments if not argument.startswith("-")), None)
    return (first,) if first is not None and first in COMMANDS else tuple(COMMANDS)


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        build(wanted(given))(args=given, prog_name="stageaudit")
    except AuditorError as error:
        sys.exit(fail(error, as_json="--json" in given))
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)


if __name__ == "__main__":
    run()
