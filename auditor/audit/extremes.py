"""The examples that an intervention raised and lowered most, and per-example effects to keep."""

from collections.abc import Mapping
from typing import final

import numpy as np

from auditor.audit.questions import Row
from auditor.audit.results import BlobValues
from auditor.effects import Probe
from auditor.estimators.base import Floats, Sample
from auditor.plan.request import AuditRequest
from auditor.plan.settings import DEFAULT_EXTREMES
from auditor.report.schema import Extreme, Extremes, NotComputed
from auditor.stagelog.dataset import EvaluationSet


@final
class ExampleEffects:
    """Gathers what a report says of single examples, row by row of its effects.

    Args:
        request: Says whether and how many are wanted.
        values: Results, whose ids name the examples.
        evaluation_sets: Manifests by digest: the texts of ids.

    Attributes:
        vectors: ``<query>/<intervention>`` -> effects [N], of queries with ``reduction: none``.
    """

    def __init__(
        self,
        request: AuditRequest,
        values: BlobValues,
        *,
        evaluation_sets: Mapping[str, EvaluationSet],
    ) -> None:
        self._request = request
        self._values = values
        self._sets = evaluation_sets
        self._extremes: list[Extremes] = []
        self._absent: dict[str, NotComputed] = {}
        self.vectors: dict[str, Floats] = {}

    def add(self, row: Row, sample: Sample) -> None:
        """Take in the effects of one row; nothing where nobody asked for single examples."""
        query = row.query.of if isinstance(row.query, Probe) else row.query
        kept = query.reduction == "none"
        number = self._request.extremes or (DEFAULT_EXTREMES if kept else None)
        if number is None:
            return
        factual = row.questions[0].factual
        ids = self._values.ids(factual)
        effects = sample.effects.mean(axis=0)  # [N], over the replicas
        why = None
        if self._values.is_metric(factual):
            why = f"{query.kind.value} is about all examples together"
        elif len(effects) != len(ids):
            why = "the adjoint form knows only the mean of a query"
        if why is not None:
            self._absent[row.query.name] = NotComputed(
                what=f"examples of {row.query.name!r}, extremes", why=why
            )
            return
        if kept:
            self.vectors[f"{row.query.name}/{row.intervention.label}"] = effects
        found = None if query.data is None else self._sets.get(query.data)
        column = None if found is None else found.dataset.columns.get("id")
        texts = None if column is None else column.categories

        def named(row_number: int) -> Extreme:
            code = int(ids[row_number])
            return Extreme(
                id=code if texts is None else texts[code], effect=float(effects[row_number])
            )

        order = np.argsort(effects, kind="stable")
        self._extremes.append(
            Extremes(
                query=row.query.name,
                intervention=row.intervention.label,
                raised=tuple(named(int(i)) for i in order[::-1][:number] if effects[i] > 0),
                lowered=tuple(named(int(i)) for i in order[:number] if effects[i] < 0),
            )
        )

    @property
    def extremes(self) -> tuple[Extremes, ...]:
        """The examples raised and lowered most, one entry an effect."""
        return tuple(self._extremes)

    @property
    def absent(self) -> tuple[NotComputed, ...]:
        """What was asked for and does not exist, once a query."""
        return tuple(self._absent.values())
