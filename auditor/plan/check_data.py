"""Do columns and selections fit a dataset? Shared by references and queries."""

from collections.abc import Mapping

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
    return sets[digest]


def check_column(
    column: str, dataset: Dataset, *, like: Column | None, where: str, name: str
) -> None:
    """Refuse a column that is absent or, where `like` is given, of another dtype or shape."""
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


def check_selection(selection: Selection, dataset: Dataset, *, where: str, name: str) -> None:
    """Refuse a selection by an absent column or by a value the column cannot hold."""
    for column, values in selection.columns.items():
        if column not in dataset.columns:
            raise InputError(
                f"{where}.{column}",
                expected=f"a column of dataset {name!r}: " + ", ".join(sorted(dataset.columns)),
                found=column,
                remedy="Correct the column or record it with the data.",
            )
        _check_values(values, dataset.columns[column], where=f"{where}.{column}", name=name)


def _check_values(
    values: tuple[str | int | bool, ...], column: Column, *, where: str, name: str
) -> None:
    if column.categories is not None:
        unknown = [value for value in values if value not in column.categories]
        if unknown:
            raise InputError(
                where,
                expected=f"values of dataset {name!r}: " + ", ".join(column.categories),
                found=unknown[0],
                remedy="Correct the value.",
            )
    elif any(isinstance(value, str) for value in values):
        raise InputError(
            where,
            expected=f"numbers: the column holds {column.dtype} without categories",
            found=next(value for value in values if isinstance(value, str)),
            remedy="Give the value as a number.",
        )
