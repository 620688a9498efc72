"""Questions and results without torch: queries, estimands, effects, verdicts."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from auditor.errors import NumericalError
from auditor.stagelog.record import DigestField, Figure, Name, Record


class Better(StrEnum):
    """Which direction of a query is good."""

    LOWER = "lower"
    HIGHER = "higher"


class QueryKind(StrEnum):
    """A function of the final model on evaluation data."""

    LOSS = "loss"
    LOGIT = "logit"
    MARGIN = "margin"
    PROBABILITY = "probability"
    ACCURACY = "accuracy"
    LOG_LIKELIHOOD = "log_likelihood"
    PERPLEXITY = "perplexity"
    SCORE = "score"
    AUROC = "auroc"
    ECE = "ece"
    ACCURACY_GAP = "accuracy_gap"
    DEMOGRAPHIC_PARITY = "demographic_parity"
    EQUALISED_ODDS = "equalised_odds"
    WORST_GROUP = "worst_group"
    METRIC = "metric"
    OUTSIDE = "outside"


UNITS = {
    QueryKind.LOSS: "nat",
    QueryKind.LOGIT: "logit",
    QueryKind.MARGIN: "logit",
    QueryKind.PROBABILITY: "probability",
    QueryKind.ACCURACY: "fraction",
    QueryKind.LOG_LIKELIHOOD: "nat",
    QueryKind.PERPLEXITY: "perplexity",
    QueryKind.SCORE: "score",
    QueryKind.AUROC: "probability",
    QueryKind.ECE: "probability",
    QueryKind.ACCURACY_GAP: "fraction",
    QueryKind.DEMOGRAPHIC_PARITY: "fraction",
    QueryKind.EQUALISED_ODDS: "fraction",
    QueryKind.WORST_GROUP: "fraction",
    QueryKind.METRIC: "metric",
    QueryKind.OUTSIDE: "value",
}
"""Unit of each kind of query; the worst group's loss is in nats."""

OWN_UNIT = frozenset({QueryKind.SCORE, QueryKind.METRIC, QueryKind.OUTSIDE})
"""Kinds whose unit only the requester knows."""

DIFFERENTIABLE = frozenset({
    QueryKind.LOSS, QueryKind.LOGIT, QueryKind.MARGIN, QueryKind.PROBABILITY,
    QueryKind.LOG_LIKELIHOOD, QueryKind.PERPLEXITY, QueryKind.SCORE,
})  # fmt: skip
"""Kinds that have a gradient, which ``aa_score`` needs."""

PER_POSITION = frozenset({
    QueryKind.LOSS, QueryKind.ACCURACY, QueryKind.LOG_LIKELIHOOD, QueryKind.PERPLEXITY,
    QueryKind.ACCURACY_GAP, QueryKind.WORST_GROUP,
})  # fmt: skip
"""Kinds that are taken over an example's positions where its classes are per position."""

BY_GROUP = frozenset({
    QueryKind.ACCURACY_GAP, QueryKind.DEMOGRAPHIC_PARITY, QueryKind.EQUALISED_ODDS,
    QueryKind.WORST_GROUP,
})  # fmt: skip
"""Kinds that compare groups of examples."""

AGGREGATES = BY_GROUP | {QueryKind.AUROC, QueryKind.ECE, QueryKind.PERPLEXITY}
"""Kinds that are no mean over examples: their values are jackknife values."""

ANY_CLASS = frozenset({QueryKind.LOGIT, QueryKind.MARGIN, QueryKind.PROBABILITY})
"""Kinds that are about ``class_`` or, without it, about each example's own target."""

TAKES_CLASS = ANY_CLASS | {
    QueryKind.SCORE, QueryKind.AUROC, QueryKind.ECE, QueryKind.DEMOGRAPHIC_PARITY,
    QueryKind.EQUALISED_ODDS,
}  # fmt: skip
"""Kinds that may be asked for one class."""

NEEDS_CLASS = frozenset({
    QueryKind.SCORE, QueryKind.AUROC, QueryKind.DEMOGRAPHIC_PARITY, QueryKind.EQUALISED_ODDS,
})  # fmt: skip
"""Kinds that must be: but a model of two classes means class 1, and a score its only column."""


class Where(Record):
    """Rows of a dataset whose column equals a value (text for a column with categories)."""

    column: Name
    equals: str | int | bool


class Selection(Record):
    """Some rows of an evaluation set, and the columns that a graph's inputs take there."""

    data: DigestField | None
    inputs: dict[Name, Name] | None
    where: Where | None
    group: Name | None  # only with the groups that select rows
    groups: tuple[str | int | bool, ...] | None


class ToolFile(Record):
    """A file that an outside tool's command line names: a program or a script."""

    name: Name
    digest: DigestField


class Tool(Record):
    """A program of the requester that measures a checkpoint.

    ``command`` holds ``{checkpoint}`` and ``{values}`` where the paths of the checkpoint and of the
    values go; ``files`` identifies every file that it names.
    """

    name: Name
    version: Name | None = None
    command: Annotated[tuple[str, ...], Field(min_length=1)]
    files: Annotated[tuple[ToolFile, ...], Field(min_length=1)]


class Query(Record):
    """One question about the final model.

    ``loss`` is cross entropy of ``target``; ``logit``, ``margin`` and ``probability`` are those of
    ``class_`` or, when it is None, of each example's own target; ``margin`` is that logit minus
    the log-sum-exp of the others. The value per example is [N]; ``mean`` is its average. Kinds that
    are no average (:data:`AGGREGATES`) have jackknife values, whose mean is the metric.
    `stageaudit queries` lists the kinds and what each of them needs.
    """

    name: Name
    kind: Annotated[QueryKind, Field(strict=False)]
    better: Annotated[Better, Field(strict=False)]
    data: DigestField | None = None  # of an evaluation set's manifest; None only for ``outside``
    inputs: dict[Name, Name] | None = None  # graph input -> column; None: the final stage's own
    output: Annotated[int, Field(ge=0)] = 0
    target: Name = "label"
    class_: Annotated[int | None, Field(alias="class", ge=0)] = None
    reduction: Literal["mean", "none"] = "mean"
    where: Where | None = None
    cluster: Name | None = None  # column of what was sampled together; intervals allow for it
    mask: Name | None = None  # column of the positions that count, of the target's shape
    group: Name | None = None  # column of what is compared
    groups: Annotated[tuple[str | int | bool, ...], Field(min_length=1)] | None = None
    measure: Literal["accuracy", "loss"] | None = None  # of the worst group
    bins: Annotated[int, Field(ge=1, le=1000)] | None = None
    metric: DigestField | None = None  # of an ONNX graph (output, target) -> values
    tool: Tool | None = None
    unit_: Annotated[Name | None, Field(alias="unit")] = None

    @model_validator(mode="after")
    def _has_data(self) -> "Query":
        if (self.data is None) != (self.kind is QueryKind.OUTSIDE):
            raise ValueError(
                "query: `data` is the evaluation set of every kind but `outside`, which has none"
            )
        return self

    @property
    def unit(self) -> str:
        """Unit of the value and of its effects."""
        if self.kind is QueryKind.WORST_GROUP and self.measure == "loss":
            return UNITS[QueryKind.LOSS]
        return self.unit_ or UNITS[self.kind]

    @property
    def selection(self) -> Selection:
        """Which examples pass the model, and how: queries with equal ones share its outputs."""
        compared = self.groups is not None
        return Selection(
            data=self.data,
            inputs=self.inputs,
            where=self.where,
            group=self.group if compared else None,
            groups=self.groups,
        )

    @property
    def reads_target(self) -> bool:
        """Say whether the data must tell what each example is."""
        if self.kind in {QueryKind.SCORE, QueryKind.DEMOGRAPHIC_PARITY, QueryKind.OUTSIDE}:
            return False
        return not (self.kind in ANY_CLASS and self.class_ is not None)


class Probe(Record):
    """A paired difference: mean of ``of`` on treated rows minus on control rows, aligned by id."""

    name: Name
    better: Annotated[Better, Field(strict=False)]
    of: Query
    treated: DigestField
    control: DigestField

    @model_validator(mode="after")
    def _one_table(self) -> "Probe":
        if self.of.kind is QueryKind.OUTSIDE:
            raise ValueError(
                "probe: an outside tool has no treated and control set; let it return differences"
            )
        if self.of.data != self.treated:
            raise ValueError("probe: `of.data` must be the treated evaluation set")
        return self

    @property
    def unit(self) -> str:
        """Unit of the value and of its effects."""
        return self.of.unit


class Estimand(StrEnum):
    """Which world's answer: this run (E1), over batch orders (E2), over reruns (E3)."""

    E1 = "E1"
    E2 = "E2"
    E3 = "E3"


class Verdict(StrEnum):
    """What an interval allows to say."""

    EFFECT = "effect"
    WITHIN_REPLAY_SPREAD = "within replay spread"
    WITHIN_RERUN_NOISE = "within rerun noise"
    NOT_RESOLVED = "not resolved"


class SelfCheck(Record):
    """What was computed twice to see how far off the estimator is, in the query's unit."""

    kind: Literal["factual_replay", "exact"]
    deviation: Figure


class Effect(Record):
    """The effect of one intervention on one query: gamma(factual) - gamma(counterfactual).

    Positive means that the stage, or what was intervened on, *raised* the query. Figures that were
    not computed are None and absent in JSON, never zero; a value that is absent has a diagnosis.
    ``low`` and ``high`` are about these examples, ``population_low`` and ``population_high`` about
    what they were drawn from, with their ``sampling_error``.
    """

    query: Name
    unit: str
    better: Annotated[Better, Field(strict=False)]
    intervention: Name
    kind: Literal["skip", "fade", "replace", "drop", "change", "joint"]
    stage: Name | None = None  # absent for a joint intervention, which has
    stages: tuple[Name, ...] = ()
    estimand: Annotated[Estimand, Field(strict=False)] = Estimand.E1
    value: Figure | None = None
    low: Figure | None = None
    high: Figure | None = None
    confidence: float | None = None
    spread: Figure | None = None
    resolution: Figure | None = None  # by how much half the examples a step move the value
    sampling_error: Figure | None = None
    population_low: Figure | None = None
    population_high: Figure | None = None
    p_value: Figure | None = None
    sd_order: Figure | None = None
    sd_rerun: Figure | None = None
    self_check: SelfCheck | None = None
    verdict: Annotated[Verdict, Field(strict=False)]
    baselines: dict[str, Figure] = Field(default_factory=dict)
    n: Annotated[int, Field(ge=1)]
    exact_by_construction: bool = False
    statement: str
    action_keys: tuple[DigestField, ...]

    @property
    def known_value(self) -> float:
        """The value, for those who cannot go on without one.

        Raises:
            NumericalError: If it was not computed.
        """
        if self.value is None:
            raise NumericalError(
                f"effects[{self.intervention} on {self.query}].value",
                expected="a figure",
                found="none: its computation diverges",
                remedy="See the report's diagnoses.",
            )
        return self.value
