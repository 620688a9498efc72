"""CivilComments as it is published: a table of comments with a toxicity from 0 to 1."""

from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from auditor.errors import InputError
from benchmarks.fidelity.sentences import Sentence

TEXT_COLUMNS = ("comment_text", "text")
TOXICITY_COLUMNS = ("toxicity", "target")
"""Names in the releases of Jigsaw, WILDS and others."""
TOXIC = 0.5
"""A comment that at least half of the raters call toxic."""
SOURCE = "comments"


def read_civil_comments(path: Path, *, limit: int) -> tuple[Sentence, ...]:
    """Return the first comments of a ``.csv`` or ``.parquet`` file; a rating > 0 is toxic.

    Raises:
        InputError: If the file is absent or lacks a column.
    """
    if not path.is_file():
        raise InputError(
            str(path), expected="a file", found="none", remedy="Give the table of comments."
        )
    if path.suffix == ".parquet":
        names = pq.read_schema(path).names
        text, toxicity = _columns(names, path=path)
        batches = pq.ParquetFile(path).iter_batches(columns=[text, toxicity])
    else:
        # Comments span lines; the schema is known only when the file is open.
        options = csv.ParseOptions(newlines_in_values=True)
        with csv.open_csv(path, parse_options=options) as opened:
            text, toxicity = _columns(opened.schema.names, path=path)
        only = csv.ConvertOptions(
            include_columns=[text, toxicity],
            column_types={text: pa.string(), toxicity: pa.float64()},
        )
        batches = iter(csv.open_csv(path, parse_options=options, convert_options=only))
    rows = (
        (row[text], row[toxicity])
        for batch in batches
        for row in batch.to_pylist()
        if row[text] is not None and row[toxicity] is not None
    )
    return tuple(
        Sentence(text=words, rating=1.0 if value >= TOXIC else -1.0, source=SOURCE)
        for words, value in islice(rows, limit)
    )


def _columns(names: list[str], *, path: Path) -> tuple[str, str]:
    chosen = [
        next((name for name in known if name in names), None)
        for known in (TEXT_COLUMNS, TOXICITY_COLUMNS)
    ]
    text, toxicity = chosen
    if text is None or toxicity is None:
        raise InputError(
            str(path),
            expected=f"columns {' or '.join(TEXT_COLUMNS)}, {' or '.join(TOXICITY_COLUMNS)}",
            found=", ".join(names),
            remedy="Give the table as it was published.",
        )
    return text, toxicity
