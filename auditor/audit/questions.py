"""A request as rows: one intervention and one query each; a probe is two paired questions."""

from collections.abc import Iterator
from dataclasses import dataclass

from auditor.effects import Probe, Query
from auditor.estimators.base import Question
from auditor.plan.asked import interventions_of
from auditor.plan.request import AuditRequest, Intervention, Joint
from auditor.stagelog.log import StageLog


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row of the table of effects.

    ``questions`` holds one question, or treated and control of a probe.
    """

    intervention: Intervention | Joint
    query: Query | Probe
    questions: tuple[Question, ...]

    @property
    def has_baselines(self) -> bool:
        """Say whether the free baselines answer a comparable question: whole stages only."""
        return all(part.steps is None for part in self.questions[0].parts.values())


def plain_queries(query: Query | Probe) -> tuple[Query, ...]:
    """Return the query itself, or treated and control of a probe."""
    if isinstance(query, Query):
        return (query,)
    return (query.of, query.of.model_copy(update={"data": query.control}))


def questions_of(request: AuditRequest, log: StageLog) -> Iterator[Row]:
    """Yield the rows of an audit in the order they are reported: by query, then intervention."""
    for query in request.queries:
        for intervention in interventions_of(request, log):
            yield Row(
                intervention=intervention,
                query=query,
                questions=tuple(
                    Question(
                        log=log,
                        log_digest=request.log,
                        intervention=intervention,
                        query=question,
                        seed=request.seed,
                    )
                    for question in plain_queries(query)
                ),
            )
