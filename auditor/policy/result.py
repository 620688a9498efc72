"""What a gate found: one finding a rule and row, and the worst of them as the outcome."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field

from auditor.report.review import ReviewRole, Sentence
from auditor.stagelog.record import DigestField, Figure, Name, Record

GATE_SCHEMA: Final = "stageaudit.gate.v1"


class Outcome(StrEnum):
    """What a rule, and a gate, comes to; later ones are worse."""

    PASS = "pass"  # noqa: S105 - no secret
    INVESTIGATE = "investigate"
    FAIL = "fail"


ORDER = tuple(Outcome)

Comparator = Literal["<=", ">="]


class Waived(Record):
    """Who lets a finding pass that was something else, why, and until when."""

    outcome: Annotated[Outcome, Field(strict=False)]
    by: Name
    role: ReviewRole
    organisation: Name
    reason: Sentence
    expires: str
    waiver: DigestField


class Finding(Record):
    """One rule on one row of the report, with the figures it was decided by.

    ``metric``, ``comparator``, ``threshold``, ``value`` and ``sample_size`` are those of in-toto's
    discussion of evaluation results (in-toto/attestation 565). ``owner`` and ``due`` are those of
    what is to be investigated; ``waived`` says who answers for a finding that passes therefore.
    """

    rule: Name
    check: str
    outcome: Annotated[Outcome, Field(strict=False)]
    message: str
    metric: Name | None = None
    intervention: Name | None = None
    stage: Name | None = None
    comparator: Comparator | None = None
    threshold: Figure | None = None
    value: Figure | None = None
    low: Figure | None = None
    high: Figure | None = None
    unit: str | None = None
    sample_size: int | None = None
    owner: Name | None = None
    due: str | None = None
    waived: Waived | None = None


class PolicyIdentity(Record):
    """The policy by name and digest of its canonical JSON."""

    name: Name
    digest: DigestField


class GateResult(Record):
    """The outcome of a policy on a report, about the model that the report releases."""

    schema_: Annotated[Literal["stageaudit.gate.v1"], Field(alias="schema")] = GATE_SCHEMA
    outcome: Annotated[Outcome, Field(strict=False)]
    policy: PolicyIdentity
    report: DigestField
    baseline: DigestField | None = None
    model: Literal["audited", "repaired"]
    assurance: str
    findings: tuple[Finding, ...]
    created: str

    def of(self, outcome: Outcome) -> tuple[Finding, ...]:
        """Return the findings with this outcome."""
        return tuple(finding for finding in self.findings if finding.outcome is outcome)


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the worst of some outcomes, at least one."""
    return max(outcomes, key=ORDER.index)
