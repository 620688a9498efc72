"""``stageaudit data``: raw files to evaluation sets and references."""

import typer

from service.cli.data_images import from_images
from service.cli.data_rows import from_table
from service.cli.data_show import show

ROWS = """Make an evaluation set, or a reference for `replace`, of {what}.

`stageaudit data from-{kind} {file} --tokenizer final --log runs/42 -o heldout` tokenises the
column text with the tokenizer of the folder final, and follows the log: as many tokens an
example, classes in its order. What the log would not take is refused, by row.

Without --tokenizer, columns are taken over as they are: whole numbers, numbers, booleans, texts,
lists of numbers. --stack x=a,b,c puts columns of numbers side by side.

The folder is written in full or not at all; `stageaudit audit --data` and `--replace` take it.
"""

FORMATS = {
    "jsonl": ("a file with one JSON object a line", "eval.jsonl"),
    "csv": ("a CSV file with a header", "eval.csv"),
    "parquet": ("a Parquet file", "eval.parquet"),
}

app = typer.Typer(
    help="Turn raw files into evaluation sets, and into references for `replace`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
for kind, (what, file) in FORMATS.items():
    app.command(f"from-{kind}", help=ROWS.format(what=what, kind=kind, file=file))(from_table)
app.command("from-images")(from_images)
app.command("show")(show)
