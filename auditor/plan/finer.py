"""Finer and coarser questions beside single effects: Shapley values, the per-step timeline."""

from typing import Annotated, Literal

from pydantic import Field

from auditor.plan.curvature import CurvatureName
from auditor.stagelog.record import Name, Record

MAX_PLAYERS = 8
"""Most stages that Shapley values are computed over: their subsets are 2^n trajectories."""

Queries = Annotated[tuple[Name, ...], Field(min_length=1)]


class AllocationRequest(Record):
    """Shapley values of stages: a convention for sharing out what they did together.

    ``context`` are the log's first stages, which are always executed; ``players`` those among
    which the difference is shared, ``"rest"`` all after the context. ``queries`` are names of the
    audit's queries, None all of them.
    """

    context: Annotated[tuple[Name, ...], Field(min_length=1)]
    players: Literal["rest"] | Annotated[tuple[Name, ...], Field(min_length=1)] = "rest"
    queries: Queries | None = None


class TimelineRequest(Record):
    """The first-order effect of every step, merged to ``windows`` that never cross stages."""

    windows: Annotated[int, Field(ge=1, le=10_000)]
    queries: Queries | None = None
    curvature: CurvatureName = "exact"
