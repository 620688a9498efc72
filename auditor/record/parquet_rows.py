"""Rows of a Parquet file, read block by block; nested records and times are refused by name."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from auditor.errors import InputError, ResourceError
from auditor.record.table import ROWS_LIMIT, Row, Table, checked_table, require_size

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_ROWS = 4096
DECODED_LIMIT_BYTES = 2**32
"""Bytes of all values together, however small the file that holds them."""
_FOOTER_LIMIT_BYTES = 2**26
_NAMES_LIMIT = 10**6


def read_parquet(
    path: Path,
    *,
    columns: Collection[str] | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Table:
    """Return the rows of a Parquet file; absent values are absent columns of their row.

    Args:
        path: The file.
        columns: Those to read, where the file has them; None for all.
        on_progress: Told how many rows of how many are read.

    Raises:
        InputError: If it is no Parquet file, is damaged, or a column is of records, times or bytes.
        ResourceError: If it is larger than 2 GiB, or holds more than 4 GiB of values.
    """
    import pyarrow as pa  # noqa: PLC0415 - of all readers only this one needs it
    import pyarrow.parquet as pq  # noqa: PLC0415

    rows: list[Row] = []
    try:
        require_size(str(path), path.stat().st_size)
        with pq.ParquetFile(
            path,
            thrift_string_size_limit=_FOOTER_LIMIT_BYTES,
            thrift_container_size_limit=_NAMES_LIMIT,
            pre_buffer=False,
        ) as file:
            total = file.metadata.num_rows
            _require_rows(path.name, total)
            names = [
                field.name
                for field in file.schema_arrow
                if columns is None or field.name in columns
            ]
            _require_values(file.schema_arrow, names, where=path.name)
            decoded = 0
            for block in file.iter_batches(batch_size=BLOCK_ROWS, columns=names):
                decoded += block.nbytes
                _require_decoded(path.name, decoded)
                rows.extend(_present(row) for row in block.to_pylist())
                _require_rows(path.name, len(rows))
                on_progress(len(rows), total)
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            str(path),
            expected="a readable Parquet file",
            found=error,
            remedy="Check the path, or write the file again.",
        ) from error
    return checked_table(path.name, rows, remedy="Write at least one row.")


def _present(row: Row) -> Row:
    return {name: value for name, value in row.items() if value is not None}


def _require_rows(where: str, rows: int) -> None:
    if rows > ROWS_LIMIT:
        raise InputError(
            where,
            expected=f"1 to {ROWS_LIMIT} rows",
            found=rows,
            remedy="Evaluate on a sample of the data.",
        )


def _require_decoded(where: str, size_bytes: int) -> None:
    if size_bytes > DECODED_LIMIT_BYTES:
        raise ResourceError(
            where,
            expected=f"at most {DECODED_LIMIT_BYTES} bytes of values",
            found=f"at least {size_bytes}",
            remedy="Evaluate on a sample of the data, or name fewer columns with --keep.",
        )


def _require_values(schema: "pa.Schema", names: Collection[str], *, where: str) -> None:
    import pyarrow.types as kinds  # noqa: PLC0415

    if len(set(names)) != len(names):
        raise InputError(
            where,
            expected="every column once",
            found=", ".join(names),
            remedy="Write the file again with columns of different names.",
        )
    for name in names:
        kind = schema.field(name).type
        if kinds.is_dictionary(kind):
            kind = kind.value_type
        while kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind):
            kind = kind.value_type
        if not (
            kinds.is_string(kind)
            or kinds.is_large_string(kind)
            or kinds.is_integer(kind)
            or kinds.is_floating(kind)
            or kinds.is_boolean(kind)
            or kinds.is_null(kind)  # of which every value is absent
        ):
            raise InputError(
                f"{where}: {name}",
                expected="texts, numbers, booleans, or lists of them",
                found=str(schema.field(name).type),
                remedy="Leave the column out with --keep, or write it as one of these.",
            )
