"""How many examples are in each group that a query compares."""

import torch

from auditor.dynamics.query_examples import query_examples
from auditor.dynamics.run import Run
from auditor.effects import BY_GROUP, Query


def group_sizes(run: Run, query: Query) -> dict[str, int]:
    """Return the sizes of the groups of a query by name; none for kinds that compare no groups.

    Raises:
        QueryError: If the query's column is missing or holds no groups.
    """
    groups = query_examples(run, query).groups if query.kind in BY_GROUP else None
    if groups is None:
        return {}
    counts = torch.bincount(groups.of, minlength=len(groups.names)).tolist()
    return dict(zip(groups.names, counts, strict=True))
