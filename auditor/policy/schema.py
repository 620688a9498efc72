"""``stageaudit.policy.v1``: what a release must fulfil, as rules over a signed report.

Written by people in YAML. Bounds are in the unit of the query that they are about. A policy's
digest is that of its canonical JSON, so that an audit request can name it beforehand.
"""

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from auditor.effects import Verdict
from auditor.report.review import ReviewRole
from auditor.stagelog.record import Figure, Name, Record

POLICY_SCHEMA: Final = "stageaudit.policy.v1"
MAX_RULES = 1000


class Duty(Record):
    """Who looks at what a gate cannot decide, and within how many days."""

    owner: Name
    days: Annotated[float, Field(gt=0, le=3650)]


class _Rule(Record):
    """What every rule has: ``duty`` is its own, else the policy's."""

    name: Name
    duty: Duty | None = None


class _Bounded(_Rule):
    """A rule with at least one bound."""

    at_most: Figure | None = None
    at_least: Figure | None = None

    @model_validator(mode="after")
    def _has_bound(self) -> "_Bounded":
        if self.at_most is None and self.at_least is None:
            raise ValueError("give at_most, at_least or both")
        low, high = self.at_least, self.at_most
        if low is not None and high is not None and low > high:
            raise ValueError("at_least must not exceed at_most")
        return self


class EffectRule(_Bounded):
    """Bounds on the effects of interventions on a query.

    The whole ``judge`` must keep the bounds for a pass and miss one for a fail; anything else is to
    be investigated. ``population`` is the interval about what the examples were drawn from.
    ``against`` the baseline, what is bounded is how much larger the effect is than in its report;
    a stage that the baseline does not have counts whole.
    """

    check: Literal["effect"]
    query: Name
    kinds: tuple[Literal["skip", "fade", "replace", "drop", "change", "joint"], ...] = ()
    interventions: tuple[Name, ...] = ()  # by label; with kinds: both must match
    stages: tuple[Name, ...] = ()  # none: every stage
    judge: Literal["interval", "value", "population"] = "interval"
    against: Literal["zero", "baseline"] = "zero"


class ValueRule(_Bounded):
    """Bounds on a query's value at the audited model, or on its change against the baseline."""

    check: Literal["value"]
    query: Name
    against: Literal["zero", "baseline"] = "zero"


class VerdictRule(_Rule):
    """Verdicts that effects on a query may have; others fail, *not resolved* is investigated."""

    check: Literal["verdict"]
    query: Name
    allowed: Annotated[tuple[Annotated[Verdict, Field(strict=False)], ...], Field(min_length=1)]
    direction: Literal["harmful", "any"] = "any"  # harmful: only effects that are for the worse
    kinds: tuple[Literal["skip", "fade", "replace", "drop", "change", "joint"], ...] = ()
    stages: tuple[Name, ...] = ()


class PrecisionRule(_Rule):
    """How wide half an interval may be; effects on the query that are wider are investigated."""

    check: Literal["precision"]
    query: Name
    half_width_at_most: Annotated[float, Field(gt=0)]


class ConsistencyRule(_Rule):
    """The log replays to its checkpoints: an inconsistent segment fails, none is investigated."""

    check: Literal["consistency"]


class BoundModelRule(_Rule):
    """The report is about the artifact at hand: a model that is not bound to the log fails."""

    check: Literal["bound_model"]


class AgeRule(_Rule):
    """The report is at most this old; a report without a date is investigated."""

    check: Literal["age"]
    at_most_days: Annotated[float, Field(gt=0)]


class EstimatorRule(_Rule):
    """Which estimators may have computed the figures; others fail.

    ``tolerance`` says that what ``auto`` chose is within the tolerance that was asked for.
    """

    check: Literal["estimator"]
    allowed: Annotated[tuple[Name, ...], Field(min_length=1)]
    tolerance: Literal["met", "any"] = "any"


class RegisteredRule(_Rule):
    """The audit was asked for under this very policy, so that nobody moved the bar afterwards."""

    check: Literal["registered"]


class ReviewsRule(_Rule):
    """Somebody in this role has approved the report; whoever rejects it fails it.

    An approval that is missing, has expired or is older than ``at_most_days`` fails. One under
    conditions is investigated, unless ``conditions: accept``.
    """

    check: Literal["reviews"]
    role: ReviewRole
    at_most_days: Annotated[float, Field(gt=0)] | None = None
    conditions: Literal["investigate", "accept"] = "investigate"


Rule = Annotated[
    EffectRule
    | ValueRule
    | VerdictRule
    | PrecisionRule
    | ConsistencyRule
    | BoundModelRule
    | AgeRule
    | EstimatorRule
    | RegisteredRule
    | ReviewsRule,
    Field(discriminator="check"),
]


class Policy(Record):
    """Rules of which every one must pass; ``duty`` is for what cannot be decided.

    People in the roles ``waivers`` may sign that a rule need not hold for one report.
    """

    schema_: Annotated[Literal["stageaudit.policy.v1"], Field(alias="schema")] = POLICY_SCHEMA
    name: Name
    duty: Duty
    waivers: tuple[ReviewRole, ...] = ()
    rules: Annotated[tuple[Rule, ...], Field(min_length=1, max_length=MAX_RULES)]

    @model_validator(mode="after")
    def _unique(self) -> "Policy":
        names = [rule.name for rule in self.rules]
        if len(set(names)) != len(names):
            raise ValueError("two rules have one name")
        return self
