"""Release B is worse than A: which single change did it?

For every difference between the two logs, B is run again with that part taken from A, exactly and
from the last state the two have in common with B's recording. What this moves is compared with the
gap between the releases, and with how much drawing the same stage's batches anew would move.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from auditor.audit.bisect_compare import Difference, differences
from auditor.audit.bisect_derive import derived
from auditor.audit.bisect_finding import BisectFinding, BisectRequest, Explanation, QueryFinding
from auditor.audit.bisect_judge import cause_of, interval_of, verdict_of
from auditor.audit.bisect_plan import (
    DrawKind,
    Trajectory,
    candidate,
    draw_kind,
    inflation,
    recorded_end,
    redrawn,
)
from auditor.audit.cost import gradient_examples
from auditor.audit.execute import Worker
from auditor.audit.local import (
    DEFAULT_MAX_LANES,
    LocalProgress,
    ResultIndex,
    execute_actions,
    prepare,
)
from auditor.audit.results import BlobValues
from auditor.effects import Probe, Query
from auditor.errors import NumericalError
from auditor.plan.actions import ActionKey, ActionSpec, Advance, key_of
from auditor.plan.request import AuditRequest
from auditor.plan.settings import RetrainSettings
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest, canonical_bytes
from auditor.stagelog.log import StageLog

Queries = Sequence[Query | Probe]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """Everything that is run: the releases, each difference undone, each stage drawn anew."""

    a: Trajectory
    b: Trajectory
    differences: tuple[Difference, ...]
    undone: tuple[Trajectory, ...]
    draws: dict[tuple[int, DrawKind], tuple[Trajectory, ...]]
    inflations: dict[tuple[int, DrawKind], float]

    def trajectories(self) -> Iterator[Trajectory]:
        yield from (self.a, self.b, *self.undone)
        for drawn in self.draws.values():
            yield from drawn


def bisect(
    request: BisectRequest,
    *,
    blobs: BlobStore,
    index: ResultIndex,
    device: str,
    max_lanes: int = DEFAULT_MAX_LANES,
    on_progress: Callable[[LocalProgress], None] = lambda _: None,
) -> BisectFinding:
    """Return which single change between two releases explains how far they are apart.

    Cost: for every difference the later stages of B once, and R times more for the noise, as lanes
    of one batch. Nothing is kept but action results and derived manifests.

    Args:
        request: The two logs, what is compared, and when a change counts as the cause.
        blobs: Holds both logs and the evaluation data; receives results.
        index: Finished actions; receives those of this bisection.
        device: A torch device.
        max_lanes: How many actions run as one batch at most.
        on_progress: Called at block boundaries; raising stops it.

    Raises:
        AuditorError: If a log or a query is not answerable, the releases cannot be compared, or an
            action fails.
    """
    queries = request.queries
    a, b = (
        recorded_end(_prepared(Digest(log), queries, blobs), Digest(log))
        for log in (request.a, request.b)
    )
    plan = _plan(a, b, request=request, blobs=blobs)
    actions: dict[ActionKey, ActionSpec] = {}
    for query in queries:
        for trajectory in plan.trajectories():
            actions |= {key_of(spec): spec for spec in trajectory.actions(query)}
    results = execute_actions(
        list(actions.values()),
        worker=Worker(blobs, device=device),
        blobs=blobs,
        index=index,
        max_lanes=max_lanes,
        on_progress=on_progress,
    )
    values = BlobValues(blobs, results)
    return BisectFinding(
        a=request.a,
        b=request.b,
        share=request.share,
        confidence=request.confidence,
        draws=request.draws,
        seed=request.seed,
        queries=tuple(_judged(plan, query, request=request, values=values) for query in queries),
        gradient_examples=str(_cost(plan)),
    )


def _prepared(log: Digest, queries: Queries, blobs: BlobStore) -> StageLog:
    """Return a log after checking that every query can be asked of it and that it can be run."""
    return prepare(
        AuditRequest(
            log=log,
            interventions="stages",
            queries=tuple(queries),
            estimator=RetrainSettings(),
            consistency="skip",
        ),
        blobs,
    )


def _plan(a: Trajectory, b: Trajectory, *, request: BisectRequest, blobs: BlobStore) -> _Plan:
    found = differences(a.log, b.log, blobs)
    undone = []
    draws: dict[tuple[int, DrawKind], tuple[Trajectory, ...]] = {}
    for difference in found:
        log = derived(a.log, b.log, difference, blobs=blobs)
        undone.append(candidate(log, blobs.write(canonical_bytes(log)), difference))
        kind = draw_kind(difference)
        if kind is not None:
            draws[difference.stage, kind] = tuple(
                redrawn(b.log, b.digest, difference.stage, kind=kind, number=r, seed=request.seed)
                for r in range(1, request.draws + 1)
            )
    return _Plan(
        a=a,
        b=b,
        differences=found,
        undone=tuple(undone),
        draws=draws,
        inflations={
            (stage, kind): inflation(b.log, stage, kind=kind, blobs=blobs) for stage, kind in draws
        },
    )


def _judged(
    plan: _Plan, query: Query | Probe, *, request: BisectRequest, values: BlobValues
) -> QueryFinding:
    a, b = (_mean(trajectory, query, values) for trajectory in (plan.a, plan.b))
    gap = b - a
    drawn = {
        key: [_mean_if_finite(draw, query, values) for draw in trajectories]
        for key, trajectories in plan.draws.items()
    }
    explanations = tuple(
        _explanation(
            plan,
            position,
            value=_mean_if_finite(trajectory, query, values),
            b=b,
            gap=gap,
            drawn=drawn,
            request=request,
        )
        for position, trajectory in enumerate(plan.undone)
    )
    cause = cause_of(explanations)
    gap_noise = _gap_noise(explanations)
    return QueryFinding(
        query=query.name,
        unit=query.unit,
        better=query.better,
        a=a,
        b=b,
        gap=gap,
        gap_noise=gap_noise,
        explanations=explanations,
        cause=cause,
        statement=_statement(
            query,
            b=b,
            gap=gap,
            noise=gap_noise,
            cause=None if cause is None else explanations[cause],
        ),
    )


def _explanation(
    plan: _Plan,
    position: int,
    *,
    value: float | None,
    b: float,
    gap: float,
    drawn: dict[tuple[int, DrawKind], list[float | None]],
    request: BisectRequest,
) -> Explanation:
    difference = plan.differences[position]
    named = {
        "stage": plan.b.log.stages[difference.stage].name,
        "part": difference.part,
        "what": difference.what,
    }
    if value is None:
        return Explanation.model_validate({**named, "verdict": "diverged"})
    explained = b - value
    share = None if gap == 0 else explained / gap
    plain = {**named, "value": value, "explained": explained, "share": share}
    kind = draw_kind(difference)
    draws = [] if kind is None else drawn[difference.stage, kind]
    finite = [draw for draw in draws if draw is not None]
    if kind is None or len(finite) < len(draws):
        return Explanation.model_validate({**plain, "verdict": "no noise scale"})
    judged = sum(draw_kind(other) is not None for other in plan.differences)
    interval = interval_of(
        explained,
        np.array(finite),
        inflation=plan.inflations[difference.stage, kind],
        confidence=request.confidence,
        candidates=judged,
    )
    return Explanation.model_validate({
        **plain,
        "low": interval.low,
        "high": interval.high,
        "noise": interval.noise,
        "noise_of": kind,
        "verdict": verdict_of(interval, share=share, wanted=request.share),
    })


def _gap_noise(explanations: Sequence[Explanation]) -> float:
    """Return the standard deviation of the gap if every stage differed by its draw alone."""
    largest: dict[str, float] = {}
    for one in explanations:
        largest[one.stage] = max(largest.get(one.stage, 0.0), one.noise or 0.0)
    return float(np.sqrt(2 * sum(noise**2 for noise in largest.values())))


def _statement(
    query: Query | Probe, *, b: float, gap: float, noise: float, cause: Explanation | None
) -> str:
    if cause is None:
        return (
            f"No single change explains why {query.name} differs by {gap:+.4g} {query.unit} "
            f"between A and B. Drawing the batches anew would make a gap of {noise:.2g} (one "
            "standard deviation). This is a statement about computation."
        )
    return (
        f"Had stage {cause.stage!r} of B used the {cause.part} of A, with everything else of B as "
        f"recorded, {query.name} would be {cause.value or 0:.4g} and not "
        f"{b:.4g} {query.unit}: {cause.share or 0:.0%} of its distance "
        "from A. This is a statement about computation, not about intent, negligence or legal "
        "responsibility."
    )


def _mean(trajectory: Trajectory, query: Query | Probe, values: BlobValues) -> float:
    sides = [values.per_example(spec) for spec in trajectory.evaluations(query)]
    return float(np.mean(sides[0] if len(sides) == 1 else sides[0] - sides[1]))


def _mean_if_finite(
    trajectory: Trajectory, query: Query | Probe, values: BlobValues
) -> float | None:
    """Return a query at the end of a run, or None where the run diverged."""
    try:
        return _mean(trajectory, query, values)
    except NumericalError:
        return None


def _cost(plan: _Plan) -> int:
    """Return the gradient-examples of all trajectories, an action counted once."""
    seen: dict[ActionKey, tuple[Advance, StageLog]] = {}
    for trajectory in plan.trajectories():
        seen |= {key_of(spec): (spec, trajectory.log) for spec in trajectory.chain}
    return sum(gradient_examples([spec], log) for spec, log in seen.values())
