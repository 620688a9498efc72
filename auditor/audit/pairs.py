"""A probe's rows are pairs: row i of the treated and of the control set show one example."""

import numpy as np

from auditor.audit.questions import Row
from auditor.audit.results import BlobValues
from auditor.errors import QueryError


def require_pairs(row: Row, values: BlobValues) -> None:
    """Refuse a probe whose rows are about different examples; other queries have no pairs.

    Raises:
        QueryError: If `where` selects unequal numbers of rows, or the ids of a pair differ; the
            first one is named.
    """
    if len(row.questions) == 1:
        return
    treated, control = (values.ids(question.factual) for question in row.questions)
    where = f"query {row.query.name!r}"
    if len(treated) != len(control):
        raise QueryError(
            f"{where}.of.where",
            expected="treated and control rows in pairs",
            found=f"{len(treated)} and {len(control)} rows",
            remedy="Select by a column that is equal in both sets.",
        )
    differing = np.flatnonzero(treated != control)
    if len(differing) > 0:
        first = int(differing[0])
        raise QueryError(
            f"{where}.control.id[{first}]",
            expected=f"{treated[first]}, the id of the treated row",
            found=int(control[first]),
            remedy="Write both sets from the same examples in the same order.",
        )
