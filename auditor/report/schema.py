"""Report v1: the predicate of the signed statement (decisions, 22)."""

from importlib.util import find_spec
from typing import Annotated, Final, Literal

from pydantic import Field, JsonValue, SerializeAsAny, model_validator

from auditor.effects import Effect, QueryKind, Tool
from auditor.plan.actions import SegmentFinding
from auditor.plan.settings import EstimatorSettings
from auditor.report.execution import Executions
from auditor.report.finer import Allocation, JointEffect, Timeline
from auditor.report.history import AuditHistory
from auditor.report.repair import Repair
from auditor.report.validation import Validation
from auditor.stagelog.digest import digest_of
from auditor.stagelog.record import DigestField, Figure, Name, Record

REPORT_SCHEMA: Final = "stageaudit.report.v1"
PREDICATE_TYPE = "https://stageaudit.dev/attestation/report/v1"
REPAIR_PREDICATE_TYPE = "https://stageaudit.dev/attestation/repair/v1"
"""Predicate type of a report that hands out a repaired model."""


class LogIdentity(Record):
    """The log that was audited and how far its claims were checked."""

    digest: DigestField
    name: Name
    level: int
    stages: tuple[Name, ...]
    consistency: tuple[SegmentFinding, ...] = ()
    consistency_statement: str


class ModelIdentity(Record):
    """The model the figures are about.

    ``derivation`` says how an artifact was made from the final checkpoint, as declared and
    replayed; it is within ``deviation`` of the artifact. Neither: the two are equal bit for bit.
    """

    digest: DigestField  # of the artifact, or of the log's final parameters when none was given
    bound: bool
    source: Literal["artifact", "final checkpoint"]
    derivation: str | None = None
    deviation: Figure | None = None


class Choice(Record):
    """What ``auto`` answered an intervention with, and whether that met the tolerance.

    ``tolerance`` is the half width asked for, in the unit of every query, or relative to an effect
    larger than 1.
    """

    intervention: str
    answered_by: str
    within_tolerance: bool
    tolerance: Figure


class EstimatorIdentity(Record):
    """What computed the figures; ``choices`` says why, where ``auto`` chose."""

    id: str
    settings: SerializeAsAny[EstimatorSettings]
    resolved_from: str
    choices: tuple[Choice, ...] = ()


class EvaluationData(Record):
    """One evaluation set and its size."""

    digest: DigestField
    name: Name
    examples: int


class GroupSize(Record):
    """One of the groups that a query compares, and how many examples are in it."""

    name: str
    n: Annotated[int, Field(ge=0)]


class QueryValue(Record):
    """A query's value at the audited model itself, on the evaluation sets ``data``.

    A probe has two, treated and control; without any, a report of a release that did not say.
    ``kind`` is what it measures, of a probe what it compares; ``group`` the column of the groups
    that are compared, ``groups`` their sizes.
    """

    query: Name
    kind: Annotated[QueryKind | None, Field(strict=False)] = None
    group: Name | None = None
    unit: str
    better: str
    value: Figure
    n: int
    data: tuple[DigestField, ...] = ()
    groups: tuple[GroupSize, ...] = ()


class Disagreement(Record):
    """Rows on the same stage and query whose interventions differ in sign or verdict."""

    query: Name
    stage: Name
    text: str


class Cost(Record):
    """Gradient-examples relative to exact retraining of the same interventions."""

    gradient_examples: str  # a count, as text: may exceed 2^53
    examples_relative: Figure | None = None
    noise_relative: Figure | None = None  # of what sd_order and sd_rerun took beside it


class Software(Record):
    """What the figures were computed with."""

    stageaudit: str
    torch: str | None = None
    python: str | None = None
    device: str | None = None


class NotComputed(Record):
    """A figure a reader may miss, and why it is absent."""

    what: str
    why: str


class Limitation(Record):
    """A sentence the figures must be read with."""

    id: str
    text: str


class Diagnosis(Record):
    """Something that kept a figure from being computed, or that empties it of meaning."""

    id: Literal[
        "DIVERGES",
        "CONSTANT_QUERY",
        "STAGE_WITHOUT_UPDATE",
        "REFERENCE_SMALLER_THAN_BATCH",
        "NOISE_NOT_RESOLVED",
    ]
    text: str
    query: Name | None = None
    intervention: Name | None = None
    stage: Name | None = None


class Multiplicity(Record):
    """How the rate of false discoveries among many effects was controlled.

    ``tested`` effects have a ``p_value``; ``discovered`` of them are called effects, of which at
    most the part ``q`` is expected to be none.
    """

    method: Literal["benjamini-hochberg"]
    q: Figure
    tested: int
    discovered: int


class Person(Record):
    """Who answers for the report."""

    role: Literal["developer", "operator", "validator", "approver"]
    name: str
    organisation: str | None = None


class RunFacts(Record):
    """When and how this report was made; the only part that differs between reproductions.

    ``executions`` are the groups that its actions ran in, which give the same bits again.
    """

    created: str
    id: str
    mode: Literal["service", "local"]
    operator: str | None = None
    wall_seconds: Figure | None = None
    history: AuditHistory | None = None  # None: a local audit knows of no other
    executions: Executions | None = None


class Examples(Record):
    """Per-example effects as a safetensors blob: ``<query>/<intervention>`` -> [N] float64."""

    digest: DigestField


class Extreme(Record):
    """One example by its column ``id``, else its row, and what the intervention did to it."""

    id: int | str
    effect: Figure


class Extremes(Record):
    """The examples whose query an intervention raised and lowered most, the largest first."""

    query: Name
    intervention: Name
    raised: tuple[Extreme, ...]
    lowered: tuple[Extreme, ...]


class Report(Record):
    """The signed document. Every figure that was not computed is absent, not zero.

    ``asked`` is the audit request, of which ``request`` is the digest: what it takes to ask again.
    It is kept as it was written, so that its digest holds whatever versions add to requests.
    """

    schema_: Annotated[Literal["stageaudit.report.v1"], Field(alias="schema")] = REPORT_SCHEMA
    request: DigestField
    asked: dict[str, JsonValue] | None = None
    log: LogIdentity
    model: ModelIdentity
    estimator: EstimatorIdentity
    validation: Validation | None = None  # None: of a release that had no dossier
    evaluation_data: tuple[EvaluationData, ...]
    queries: tuple[QueryValue, ...]
    effects: tuple[Effect, ...]
    disagreements: tuple[Disagreement, ...] = ()
    joints: tuple[JointEffect, ...] = ()
    allocations: tuple[Allocation, ...] = ()
    timelines: tuple[Timeline, ...] = ()
    examples: Examples | None = None
    extremes: tuple[Extremes, ...] = ()
    tools: tuple[Tool, ...] = ()  # of the requester, whose figures were not computed here
    cost: Cost
    software: Software
    not_computed: tuple[NotComputed, ...] = ()
    limitations: tuple[Limitation, ...] = ()
    diagnoses: tuple[Diagnosis, ...] = ()
    multiplicity: Multiplicity | None = None
    repair: Repair | None = None
    assurance: Literal["self_attested", "reproduced", "third_party"] = "self_attested"
    people: tuple[Person, ...] = ()
    purpose: str | None = None
    policy_digest: DigestField | None = None
    run: RunFacts | None = None

    @model_validator(mode="after")
    def _asked_is_the_request(self) -> "Report":
        if self.asked is not None and digest_of(self.asked) != self.request:
            raise ValueError("`asked` is another request than the one that `request` names")
        return self

    @property
    def predicate_type(self) -> str:
        """What a signed statement with this report is: a repair where it hands out a model."""
        return PREDICATE_TYPE if self.repair is None else REPAIR_PREDICATE_TYPE

    def _repr_html_(self) -> str | None:
        """Return the report's page for a notebook; None, hence text, without ``[report]``.

        A report by itself has no signature: show the verification of a bundle to see one.
        """
        if find_spec("jinja2") is None:
            return None
        from auditor.page.facts import PageFacts  # noqa: PLC0415 - see the layers' named ignores
        from auditor.page.notebook import frame  # noqa: PLC0415

        return frame(self, PageFacts())
