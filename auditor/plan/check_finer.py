"""Can Shapley values and timelines be computed as they are asked for?"""

from collections.abc import Mapping, Sequence

from auditor.effects import DIFFERENTIABLE, Probe, Query
from auditor.errors import InputError, PreconditionError, ResourceError, UnsupportedError
from auditor.plan.check_average import require_no_average
from auditor.plan.finer import MAX_PLAYERS, AllocationRequest, TimelineRequest
from auditor.stagelog.log import StageLog


def players_of(allocation: AllocationRequest, log: StageLog) -> tuple[str, ...]:
    """Return the stages among which an allocation shares, in the log's order."""
    names = tuple(stage.name for stage in log.stages)
    if allocation.players == "rest":
        return names[len(allocation.context) :]
    return tuple(name for name in names if name in allocation.players)


def check_allocation(
    allocation: AllocationRequest,
    log: StageLog,
    *,
    queries: Sequence[str],
) -> None:
    """Refuse an allocation without a context, with unknown or too many players.

    Raises:
        InputError: If stages or queries do not fit the log and the request.
        ResourceError: If there are more than :data:`MAX_PLAYERS` players.
    """
    _require_known("allocation.queries", allocation.queries, queries)
    names = [stage.name for stage in log.stages]
    if list(allocation.context) != names[: len(allocation.context)]:
        raise InputError(
            "allocation.context",
            expected="the log's first stages: " + ", ".join(names),
            found=", ".join(allocation.context),
            remedy="Declare what every trajectory is built on, in the log's order.",
        )
    given = () if allocation.players == "rest" else allocation.players
    _require_known("allocation.players", given, names[len(allocation.context) :])
    players = players_of(allocation, log)
    if not players:
        raise InputError(
            "allocation.players",
            expected="a stage after the context",
            found="none",
            remedy="Shorten the context.",
        )
    if len(players) > MAX_PLAYERS:
        raise ResourceError(
            "allocation.players",
            expected=f"at most {MAX_PLAYERS} stages: each more doubles the trajectories",
            found=len(players),
            remedy="Name the stages that matter as `players`; the others stay executed.",
        )


def check_timelines(
    timelines: TimelineRequest, log: StageLog, *, queries: Mapping[str, Query | Probe]
) -> None:
    """Refuse timelines of queries without a gradient, and windows that do not fit the stages.

    Raises:
        InputError: If queries are not the request's or windows are too few or too many.
        PreconditionError: If the log lacks batches or schedules.
        UnsupportedError: If a query has no gradient, or a stage releases an average.
    """
    _require_known("timelines.queries", timelines.queries, tuple(queries))
    for name in timelines.queries or tuple(queries):
        query = queries[name]
        plain = query.of if isinstance(query, Probe) else query
        if plain.kind not in DIFFERENTIABLE:
            raise UnsupportedError(
                "timelines.queries",
                expected="queries with a gradient, of which a timeline is made",
                found=f"{name!r}, which is {plain.kind.value}",
                remedy="Name other queries there, or ask for margin or probability.",
            )
    require_no_average(log.stages)
    if log.level < 2:
        raise PreconditionError(
            "log.level",
            expected="level 2 for timelines: schedules and every batch with its data",
            found=f"level {log.level}",
            remedy="Leave `timelines` out, or record the run with batches.",
        )
    stages, steps = len(log.stages), sum(stage.steps for stage in log.stages)
    if not stages <= timelines.windows <= steps:
        raise InputError(
            "timelines.windows",
            expected=f"from {stages} windows, one a stage, to {steps}, one a step",
            found=timelines.windows,
            remedy="Windows never cross stages; change their number.",
        )


def _require_known(where: str, names: Sequence[str] | None, known: Sequence[str]) -> None:
    for name in names or ():
        if name not in known or list(names or ()).count(name) > 1:
            raise InputError(
                where,
                expected="each once, of " + (", ".join(known) or "none"),
                found=name,
                remedy="Correct the name.",
            )
