"""What a bisection of two releases found, for every query; no torch."""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field

from auditor.effects import Better, Probe, Query
from auditor.stagelog.record import DigestField, Figure, Name, Record

BISECT_SCHEMA: Final = "stageaudit.bisect.v1"


class Part(StrEnum):
    """What of a stage is taken from the other release."""

    DATA = "data"
    SETTINGS = "settings"
    STAGE = "data and settings"
    INITIAL = "initial values"


class Explanation(Record):
    """How much of the gap one difference explains.

    ``explained`` is gamma(B) - gamma(B with this part of A); ``low`` and ``high`` are what remains
    possible given that the stage's examples are a draw. ``noise`` is the standard deviation of
    gamma over such draws: ``order`` of the same examples in other orders, ``sample`` of other
    examples of the same kind. Initial values have no such scale and are never named as the cause,
    nor is a part with which B diverges, or whose draws do.
    """

    stage: Name
    part: Annotated[Part, Field(strict=False)]
    what: tuple[str, ...]
    value: Figure | None = None  # gamma(B with this part of A)
    explained: Figure | None = None
    share: Figure | None = None  # of the gap; None where there is no gap
    low: Figure | None = None
    high: Figure | None = None
    noise: Figure | None = None
    noise_of: Literal["order", "sample"] | None = None
    verdict: Literal[
        "this change did it", "contributes", "within the noise", "no noise scale", "diverged"
    ]


class QueryFinding(Record):
    """One query: the gap, what explains it, and what is said about it."""

    query: Name
    unit: str
    better: Annotated[Better, Field(strict=False)]
    a: Figure
    b: Figure
    gap: Figure  # gamma(B) - gamma(A)
    gap_noise: Figure  # how far two such releases would differ by the draws of their batches alone
    explanations: tuple[Explanation, ...]
    cause: Annotated[int, Field(ge=0)] | None = None  # position among the explanations
    statement: str


class BisectFinding(Record):
    """The answer of ``stageaudit bisect``; not signed."""

    schema_: Annotated[Literal["stageaudit.bisect.v1"], Field(alias="schema")] = BISECT_SCHEMA
    a: DigestField
    b: DigestField
    share: float
    confidence: float
    draws: int
    seed: int
    queries: tuple[QueryFinding, ...]
    gradient_examples: str  # a count, as text: may exceed 2^53

    @property
    def found(self) -> bool:
        """Whether one change explains the gap of at least one query."""
        return any(query.cause is not None for query in self.queries)


class BisectRequest(Record):
    """What is asked of a bisection: why do the queries differ between log ``a`` and log ``b``?

    ``share`` is the part of the gap that a change must explain to be named; ``draws`` how often a
    stage's batches are drawn anew to learn how much that moves the query.
    """

    a: DigestField
    b: DigestField
    queries: Annotated[tuple[Query | Probe, ...], Field(min_length=1)]
    share: Annotated[float, Field(gt=0, le=1)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    draws: Annotated[int, Field(ge=3, le=64)]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
