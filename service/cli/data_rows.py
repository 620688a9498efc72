"""``stageaudit data from-jsonl | from-csv | from-parquet``: rows to an evaluation set."""

from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from auditor.checks import needs_extra
from auditor.errors import InputError
from service.cli.data_show import OutputOption, finish, names_of
from service.cli.output import JsonOption, progress

TEXTS = "Texts, with --tokenizer"
COLUMNS = "Columns"
FIT = "The log it is for"


def from_table(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="The rows.", exists=True, dir_okay=False),
    ],
    output: OutputOption,
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder with the model's tokenizer.json; the set names its digest.",
            exists=True,
            rich_help_panel=TEXTS,
        ),
    ] = None,
    task: Annotated[
        Literal["classification", "language"] | None,
        typer.Option(
            help="Default: what config.json beside the tokenizer says, else classification where "
            "there is a label.",
            rich_help_panel=TEXTS,
        ),
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="Its column; default: text.", rich_help_panel=TEXTS)
    ] = None,
    pair: Annotated[
        str | None, typer.Option(help="Column of a second text.", rich_help_panel=TEXTS)
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            help="Column before the text, which does not count; default: prompt, with the text in "
            "completion, where the file has both.",
            rich_help_panel=TEXTS,
        ),
    ] = None,
    length: Annotated[
        int | None,
        typer.Option(
            min=4,
            help="Tokens of a text that are kept; default: what the log, else the model says.",
            rich_help_panel=TEXTS,
        ),
    ] = None,
    padding: Annotated[
        Literal["longest", "length"],
        typer.Option(help="Fill texts up to the longest, or to --length.", rich_help_panel=TEXTS),
    ] = "longest",
    label: Annotated[
        str, typer.Option(help="Column of the class.", rich_help_panel=COLUMNS)
    ] = "label",
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="Names of the classes in the order of their numbers; default: as the log or "
            "config.json numbers them, else in the order of the alphabet.",
            rich_help_panel=COLUMNS,
        ),
    ] = None,
    stack: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=A,B,...",
            help="Put columns of numbers side by side as one; pixel_* stands for all such.",
            rich_help_panel=COLUMNS,
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Take this column over (repeat for more), such as one of groups or clusters; "
            "default: source, group, cluster, licence, consent, personal_data; without "
            "--tokenizer all.",
            rich_help_panel=COLUMNS,
        ),
    ] = None,
    ids: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="COLUMN",
            help="What tells examples apart and aligns probes; default: id, else numbers.",
            rich_help_panel=COLUMNS,
        ),
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option(
            help="Of a CSV file; default: what separates the names of the header.",
            rich_help_panel=COLUMNS,
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Follow this log: dtypes, tokens of an example, order of classes; refuse what it "
            "would not take.",
            exists=True,
            file_okay=False,
            rich_help_panel=FIT,
        ),
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(
            help="The stage that reads it, for a reference; default: the last.",
            rich_help_panel=FIT,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What reports call it; default: the file's name.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make an evaluation set of rows; see the help of each command."""
    with needs_extra("record", purpose="stageaudit data"):
        from service.data_tables import TableFormat, TableSettings, write_table_set
    kind = cast(TableFormat, str(context.info_name).removeprefix("from-"))
    settings = TableSettings(
        name=name,
        tokenizer=tokenizer,
        task=task,
        text=text,
        pair=pair,
        prompt=prompt,
        label=label,
        classes=None if classes is None else names_of(classes),
        length=length,
        padding=padding,
        stack=dict(_stacked(given) for given in stack or ()),
        keep=None if keep is None else tuple(keep),
        ids=ids,
        log=log,
        stage=stage,
        delimiter=delimiter,
    )
    with progress("reading", unit="rows", quiet=as_json) as on_progress:
        made = write_table_set(file, output, kind=kind, settings=settings, on_progress=on_progress)
    finish(output, made=made, as_json=as_json)


def _stacked(given: str) -> tuple[str, tuple[str, ...]]:
    """Return the name of a new column and what is put into it."""
    name, between, patterns = given.partition("=")
    if not (name and between and patterns):
        raise InputError(
            "--stack",
            expected="NAME=COLUMN,COLUMN,...",
            found=given,
            remedy="Write x=height,width or x=pixel_*.",
        )
    return name, names_of(patterns)
