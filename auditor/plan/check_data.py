"""Do columns and selections fit a dataset? Shared by references and queries."""

from collections.abc import Iterable, Mapping

from auditor.errors import InputError, PreconditionError
from auditor.plan.request import Selection
from auditor.stagelog.dataset import Column, Dataset, EvaluationSet


def set_named(digest: str, *, where: str, sets: Mapping[str, EvaluationSet]) -> EvaluationSet:
    """Return the evaluation set with this digest; one that was not pushed is refused."""
    if digest not in sets:
        raise PreconditionError(
            where,
            expected="an evaluation set that was pushed",
            found=digest,
            remedy="Push it first: `stageaudit push DIR`.",
        )
    found = sets[digest]
    require_examples(found.dataset, where=where, name=found.name)
    return found


def require_examples(dataset: Dataset, *, where: str, name: str) -> None:
    """Refuse data of which only hashes were kept."""
    if not dataset.shards:
        raise PreconditionError(
            where,
            expected="data whose examples are stored",
            found=f"{name!r} with {dataset.coverage.kind} only",
            remedy="Write it with coverage `full`, or name other data.",
        )


def check_column(
    column: str, dataset: Dataset, *, like: Column | None, where: str, name: str
) -> None:
    """Refuse a column that is absent or, where `like` is given, of another kind.

    Categories count: a code means another text under other categories.
    """
    if column not in dataset.columns:
        raise InputError(
            where,
            expected=f"a column {column!r} in {name!r}",
            found=", ".join(sorted(dataset.columns)),
            remedy="Add the column to the data or name the column that holds it.",
        )
    found = dataset.columns[column]
    if like is not None and (found.dtype, found.shape) != (like.dtype, like.shape):
        raise InputError(
            f"{where}.{column}",
            expected=f"{like.dtype} of shape {list(like.shape)}, as in the training data",
            found=f"{found.dtype} of shape {list(found.shape)}",
            remedy="Convert the column; the model sees exactly these values.",
        )
    if like is not None and found.categories != like.categories:
        raise InputError(
            f"{where}.{column}",
            expected=f"{_texts(like)}, as in the training data",
            found=_texts(found),
            remedy="Write the column with the categories of the training data, in their order.",
        )


def check_selection(selection: Selection, datasets: Mapping[str, Dataset], *, where: str) -> None:
    """Refuse a selection that no example of any of the datasets can meet.

    Of a mixture, datasets without the columns, or without the texts, simply hold no such example.

    Args:
        selection: Columns and values.
        datasets: By name; at least one.
        where: The path of the selection.

    Raises:
        InputError: If a column is absent or holds several values an example, or if a value is of
            another kind than the column's or never occurs among its texts.
    """
    if not selection.columns:
        raise InputError(
            where,
            expected="at least one column with its values",
            found="none",
            remedy="Say which examples are meant, such as `source: vendor`.",
        )
    having = {n: d for n, d in datasets.items() if set(selection.columns) <= set(d.columns)}
    if not having:
        for column in selection.columns:
            _require_somewhere(column, datasets, where=f"{where}.{column}")
        raise InputError(
            where,
            expected="a dataset that has all of these columns",
            found=", ".join(sorted(selection.columns)),
            remedy="Select by columns that one dataset has together.",
        )
    for column, values in selection.columns.items():
        columns = {name: dataset.columns[column] for name, dataset in having.items()}
        for value in values:
            _check_value(value, columns, where=f"{where}.{column}")


def _require_somewhere(column: str, datasets: Mapping[str, Dataset], *, where: str) -> None:
    known = sorted({name for dataset in datasets.values() for name in dataset.columns})
    if column not in known:
        raise InputError(
            where,
            expected=f"a column of dataset {_either(datasets)}: " + ", ".join(known),
            found=column,
            remedy="Correct the column or record it with the data.",
        )


def _check_value(value: str | int, columns: Mapping[str, Column], *, where: str) -> None:
    """Refuse a value that none of the columns, by dataset, can hold."""
    several = [column for column in columns.values() if column.shape]
    if several:
        raise InputError(
            where,
            expected="a column of one value per example",
            found=f"shape {list(several[0].shape)}",
            remedy="Select by a column such as `source` or `group`.",
        )
    plain = [column for column in columns.values() if column.categories is None]
    texts = {text for column in columns.values() for text in column.categories or ()}
    if value in texts if isinstance(value, str) else plain:
        return
    if not texts:
        raise InputError(
            where,
            expected=f"numbers: the column holds {plain[0].dtype} without categories",
            found=value,
            remedy="Give the value as a number.",
        )
    raise InputError(
        where,
        expected=f"values of dataset {_either(columns)}: " + ", ".join(sorted(texts)),
        found=value,
        remedy="Correct the value.",
    )


def _either(names: Iterable[str]) -> str:
    return " or ".join(repr(name) for name in names)


def _texts(column: Column) -> str:
    return "no texts" if column.categories is None else "texts " + ", ".join(column.categories)
