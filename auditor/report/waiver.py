"""Waiver v1: a named person lets a rule pass on one report; the predicate of a signed statement."""

from typing import Annotated, Final, Literal

from pydantic import Field

from auditor.report.review import Reviewer, Sentence
from auditor.stagelog.record import DigestField, Name, Record

WAIVER_SCHEMA: Final = "stageaudit.waiver.v1"
WAIVER_PREDICATE_TYPE: Final = "https://stageaudit.dev/attestation/waiver/v1"


class Waiver(Record):
    """A rule of a policy that need not hold for one report, which the statement names as subject.

    ``interventions`` are labels; none: the rule whole. A waiver ends, and says why it was given.
    """

    schema_: Annotated[Literal["stageaudit.waiver.v1"], Field(alias="schema")] = WAIVER_SCHEMA
    by: Reviewer
    policy: DigestField
    rule: Name
    interventions: Annotated[tuple[Name, ...], Field(max_length=1000)] = ()
    reason: Sentence
    created: str
    expires: str
