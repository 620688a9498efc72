"""Questions and results without torch: queries, estimands, effects, verdicts."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

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


UNITS = {
    QueryKind.LOSS: "nat",
    QueryKind.LOGIT: "logit",
    QueryKind.MARGIN: "logit",
    QueryKind.PROBABILITY: "probability",
    QueryKind.ACCURACY: "fraction",
}
"""Unit of each kind of query."""

DIFFERENTIABLE = frozenset(QueryKind) - {QueryKind.ACCURACY}
"""Kinds that have a gradient, which ``aa_score`` needs."""

PER_POSITION = frozenset({QueryKind.LOSS, QueryKind.ACCURACY})
"""Kinds that are averaged over an example's positions where its classes are per position."""


class Where(Record):
    """Rows of a dataset whose column equals a value (text for a column with categories)."""

    column: Name
    equals: str | int | bool


class Query(Record):
    """One question about the final model.

    ``loss`` is cross entropy of ``target``; ``logit``, ``margin`` and ``probability`` are those of
    ``class_`` or, when it is None, of each example's own target; ``margin`` is that logit minus
    the log-sum-exp of the others. The value per example is [N]; ``mean`` is its average.
    """

    name: Name
    kind: Annotated[QueryKind, Field(strict=False)]
    better: Annotated[Better, Field(strict=False)]
    data: DigestField  # of an evaluation set's manifest
    inputs: dict[Name, Name] | None = None  # graph input -> column; None: the final stage's own
    output: Annotated[int, Field(ge=0)] = 0
    target: Name = "label"
    class_: Annotated[int | None, Field(alias="class", ge=0)] = None
    reduction: Literal["mean", "none"] = "mean"
    where: Where | None = None

    @property
    def unit(self) -> str:
        """Unit of the value and of its effects."""
        return UNITS[self.kind]


class Probe(Record):
    """A paired difference: mean of ``of`` on treated rows minus on control rows, aligned by id."""

    name: Name
    better: Annotated[Better, Field(strict=False)]
    of: Query
    treated: DigestField
    control: DigestField

    @model_validator(mode="after")
    def _one_table(self) -> "Probe":
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
    not computed are None and absent in JSON, never zero.
    """

    query: Name
    unit: str
    better: Annotated[Better, Field(strict=False)]
    intervention: Name
    kind: Literal["skip", "fade", "replace", "drop", "change", "joint"]
    stage: Name | None = None  # absent for a joint intervention, which has
    stages: tuple[Name, ...] = ()
    estimand: Annotated[Estimand, Field(strict=False)] = Estimand.E1
    value: Figure
    low: Figure | None = None
    high: Figure | None = None
    confidence: float | None = None
    spread: Figure | None = None
    sd_order: Figure | None = None
    sd_rerun: Figure | None = None
    self_check: SelfCheck | None = None
    verdict: Annotated[Verdict, Field(strict=False)]
    baselines: dict[str, Figure] = Field(default_factory=dict)
    n: Annotated[int, Field(ge=1)]
    exact_by_construction: bool = False
    statement: str
    action_keys: tuple[DigestField, ...]
