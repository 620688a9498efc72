"""Review v1: what a named person decided about a report; the predicate of a signed statement."""

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from auditor.stagelog.record import Name, Record

REVIEW_SCHEMA: Final = "stageaudit.review.v1"
REVIEW_PREDICATE_TYPE: Final = "https://stageaudit.dev/attestation/review/v1"

ReviewRole = Literal["developer", "validator", "approver"]
Decision = Literal["approve", "reject", "conditional"]

Sentence = Annotated[str, Field(min_length=1, max_length=2000)]


class Reviewer(Record):
    """Who decided, in which role and for whom."""

    name: Name
    role: ReviewRole
    organisation: Name


class Review(Record):
    """A decision about one report, which the statement names as its subject.

    ``conditional``: approved once the ``conditions`` are met, which nothing here checks.
    """

    schema_: Annotated[Literal["stageaudit.review.v1"], Field(alias="schema")] = REVIEW_SCHEMA
    reviewer: Reviewer
    decision: Decision
    conditions: Annotated[tuple[Sentence, ...], Field(max_length=100)] = ()
    comment: Sentence | None = None
    created: str
    expires: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Review":
        if (self.decision == "conditional") != bool(self.conditions):
            raise ValueError("conditions belong to the decision conditional, which needs some")
        return self
