"""From the results of a repair's actions to the part of the report that states it."""

import numpy as np

from auditor.audit.repair import (
    EXPORTED_REPLICA,
    evaluations_after,
    export_of,
    fraction_of,
    method_of,
    repaired_rows,
)
from auditor.audit.results import BlobValues
from auditor.estimators.base import Floats
from auditor.estimators.registry import resolved
from auditor.plan.repair import Goal
from auditor.plan.request import AuditRequest
from auditor.report.repair import (
    BeforeAfter,
    GoalOutcome,
    Repair,
    RepairedModel,
    repair_statement,
)
from auditor.stagelog.digest import sha256
from auditor.stagelog.log import StageLog
from auditor.stagelog.safetensors_header import read_header


def repair_of(request: AuditRequest, log: StageLog, values: BlobValues) -> Repair | None:
    """Return what a finished repair states; None for a request without one.

    Before and after are the query at the final model and at the very file that is handed out.
    """
    if request.repair is None:
        return None
    settings = resolved(request.estimator)
    rows = list(repaired_rows(request, log, request.repair))
    model = values.bytes_of(export_of(request, log, request.repair))
    queries = []
    for row in rows:
        before = _paired([values.per_example(question.factual) for question in row.questions])
        after = _paired([values.per_example(spec) for spec in evaluations_after(row, settings)])
        queries.append(
            BeforeAfter(
                query=row.query.name,
                unit=row.query.unit,
                better=row.query.better,
                before=float(np.mean(before)),
                after=float(np.mean(after)),
                n=len(before),
            )
        )
    intervention = rows[0].intervention
    return Repair(
        intervention=intervention,
        label=intervention.label,
        statement=repair_statement(intervention),
        method=method_of(settings),
        fraction=fraction_of(settings),
        replica=EXPORTED_REPLICA,
        model=RepairedModel(
            digest=sha256(model),
            size_bytes=len(model),
            tensors=len(read_header(model, where="repaired model")),
        ),
        queries=tuple(queries),
        goals=tuple(_outcome(goal, queries) for goal in request.repair.goals),
    )


def _paired(sides: list[Floats]) -> Floats:
    """Return a query's values, or treated minus control of a probe."""
    return sides[0] if len(sides) == 1 else sides[0] - sides[1]


def _outcome(goal: Goal, queries: list[BeforeAfter]) -> GoalOutcome:
    row = next(row for row in queries if row.query == goal.query)
    return GoalOutcome(
        goal=goal,
        found=goal.figure(before=row.before, after=row.after),
        met=goal.is_met(before=row.before, after=row.after),
    )
