"""``stageaudit data show``: what an evaluation set holds; also what is said of a new one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auditor.checks import needs_extra
from auditor.errors import printable
from service.cli.output import JsonOption, console, emit

if TYPE_CHECKING:
    from service.data_tables import Made

OutputOption = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="DIR", help="Receives the set; absent or empty so far."),
]


def show(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="An evaluation set.", exists=True, file_okay=False),
    ],
    as_json: JsonOption = False,
) -> None:
    """Print what an evaluation set holds: rows, columns, digests, and how many rows a group has."""
    summary = _summary(folder)
    emit(summary, as_json=as_json, human=lambda: _print(summary))


def finish(folder: Path, *, made: "Made", as_json: bool) -> None:
    """Say what was written, and what to do with it."""
    summary = _summary(folder)
    classes = None if made.classes is None else dict(made.classes)
    summary |= {"classes": classes, "notes": list(made.notes)}

    def human() -> None:
        _print(summary)
        if classes is not None:
            shown = ", ".join(f"{number} {printable(name)}" for name, number in classes.items())
            console.print(f"classes        {shown}", markup=False)
        for note in made.notes:
            console.print(f"note           {note}", markup=False)
        console.print(
            f"Next: stageaudit audit --local LOG --skip all --query loss --better lower "
            f"--data {folder}",
            markup=False,
            style="dim",
        )

    emit(summary, as_json=as_json, human=human)


def names_of(text: str) -> tuple[str, ...]:
    """Return names that commas separate."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _summary(folder: Path) -> dict[str, Any]:
    with needs_extra("log", purpose="Reading an evaluation set"):
        from service.data_summary import data_summary
    return data_summary(folder)


def _print(summary: dict[str, Any]) -> None:
    console.print(f"evaluation set {summary['digest']}", markup=False)
    console.print(
        f"               {summary['name']}: {summary['examples']} examples, "
        f"{summary['bytes']} bytes, in {summary['folder']}",
        markup=False,
    )
    for name, column in summary["columns"].items():
        shape = f" {column['shape']}" if column["shape"] else ""
        values = f", {column['values']} values" if "values" in column else ""
        console.print(f"  {name:<20} {column['dtype']}{shape}{values}", markup=False)
    for kind in ("tokenizer", "preprocessing"):
        if summary[kind] is not None:
            console.print(f"{kind:<14} {summary[kind]}", markup=False)
    for name, groups in summary["groups"].items():
        shown = ", ".join(f"{printable(value)} {count}" for value, count in groups.items())
        console.print(f"rows by {name}: {shown}", markup=False)
