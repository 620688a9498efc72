"""Does a query hold the settings of its kind, and do they name columns that are there?"""

from auditor.effects import AGGREGATES, BY_GROUP, OWN_UNIT, PER_POSITION, Query, QueryKind
from auditor.errors import QueryError
from auditor.plan.check_data import check_column, check_selection
from auditor.plan.request import Selection
from auditor.stagelog.dataset import EvaluationSet

_OF_KINDS = {
    "mask": PER_POSITION,
    "group": BY_GROUP,
    "groups": BY_GROUP,
    "measure": frozenset({QueryKind.WORST_GROUP}),
    "bins": frozenset({QueryKind.ECE}),
    "metric": frozenset({QueryKind.METRIC}),
    "tool": frozenset({QueryKind.OUTSIDE}),
    "unit": OWN_UNIT,
}
"""Settings that mean something for some kinds only."""

_NEEDED = {"group": BY_GROUP, "metric": _OF_KINDS["metric"], "tool": _OF_KINDS["tool"]}
_FREE = ("inputs", "where", "cluster")


def check_fields(query: Query, *, where: str) -> None:
    """Refuse a query that lacks a setting of its kind, or has one that means nothing for it.

    Raises:
        QueryError: If a setting is missing or meaningless; it is named.
    """
    kind = query.kind
    for field, kinds in _OF_KINDS.items():
        given = getattr(query, "unit_" if field == "unit" else field) is not None
        if given and kind not in kinds:
            raise QueryError(
                f"{where}.{field}",
                expected=f"no {field} for {kind.value}; it belongs to "
                + ", ".join(sorted(kind.value for kind in kinds)),
                found=field,
                remedy="Leave it out, or ask for another kind; see `stageaudit queries`.",
            )
        if not given and kind in _NEEDED.get(field, ()):
            raise QueryError(
                f"{where}.{field}",
                expected=f"{_WHAT[field]}, which {kind.value} needs",
                found="none",
                remedy="Add it; `stageaudit queries` shows an example.",
            )
    if query.reduction == "none" and kind in AGGREGATES:
        raise QueryError(
            f"{where}.reduction",
            expected=f"mean for {kind.value}, which is about all examples together",
            found=query.reduction,
            remedy="Leave it out, or ask for the loss or accuracy of each example.",
        )
    if kind is QueryKind.OUTSIDE:
        for field in _FREE:
            if getattr(query, field) is not None:
                raise QueryError(
                    f"{where}.{field}",
                    expected="none: an outside tool reads its own data",
                    found=field,
                    remedy="Leave it out, and let the tool do it.",
                )


_WHAT = {
    "group": "the column whose values are compared",
    "metric": "an ONNX graph (output, target) -> value",
    "tool": "the outside tool",
}


def check_columns(query: Query, found: EvaluationSet, *, where: str) -> None:
    """Refuse a query whose group, cluster or mask is no fitting column of its evaluation set.

    Raises:
        InputError: If a column is absent, or a group is none of its values.
        QueryError: If it does not hold one text or whole number per example (a mask: per position),
            or a single group is left to compare.
    """
    dataset = found.dataset
    for field in ("group", "cluster"):
        name = getattr(query, field)
        if name is None:
            continue
        at = f"{where}.{field}"
        check_column(name, dataset, like=None, where=at, name=found.name)
        column = dataset.columns[name]
        if column.shape or "float" in column.dtype:
            raise QueryError(
                at,
                expected="a column of one text or whole number per example",
                found=f"{column.dtype} of shape {list(column.shape)}",
                remedy="Name a column such as `source` or `group`.",
            )
    if query.group is not None:
        _check_groups(query, query.group, found, where=where)
    if query.mask is not None:
        at = f"{where}.mask"
        check_column(query.mask, dataset, like=None, where=at, name=found.name)
        check_column(query.target, dataset, like=None, where=f"{where}.target", name=found.name)
        mask, target = dataset.columns[query.mask], dataset.columns[query.target]
        if not mask.shape or mask.shape != target.shape:
            raise QueryError(
                at,
                expected=f"one value for each position of {query.target!r}, {list(target.shape)}",
                found=f"shape {list(mask.shape)}",
                remedy="Name a column of zeros and ones of the target's shape.",
            )


def _check_groups(query: Query, group: str, found: EvaluationSet, *, where: str) -> None:
    at = f"{where}.groups"
    categories = found.dataset.columns[group].categories
    if query.groups is not None:
        check_selection(
            Selection(columns={group: query.groups}), {found.name: found.dataset}, where=at
        )
    names = query.groups if query.groups is not None else categories
    if names is not None and len(set(names)) < max(2, len(names)):
        raise QueryError(
            at if query.groups is not None else f"{where}.group",
            expected="at least two groups, each once",
            found=", ".join(map(str, names)),
            remedy="Name a column that differs between examples, or ask for the plain query.",
        )
