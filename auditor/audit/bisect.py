"""Release B is worse than A: which single change did it?

For every difference between the two logs, B is run again with that part taken from A, exactly and
from the last state the two have in common with B's recording. What this moves is compared with the
gap between the releases, and with how much drawing the same stage's batches anew would move.
"""

from collections.abc import Callable, Sequence

from auditor.audit.bisect_compare import differences
from auditor.audit.bisect_derive import derived
from auditor.audit.bisect_explain import Plan, judged
from auditor.audit.bisect_finding import BisectFinding, BisectRequest
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
    GroupLimits,
    LocalProgress,
    ResultIndex,
    execute_actions,
    prepare,
)
from auditor.audit.results import BlobValues
from auditor.effects import Probe, Query
from auditor.estimators.retrain import RetrainSettings
from auditor.plan.actions import ActionKey, ActionSpec, Advance, key_of
from auditor.plan.request import AuditRequest
from auditor.plan.room import DEFAULT_MAX_LANES
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest, canonical_bytes
from auditor.stagelog.log import StageLog

Queries = Sequence[Query | Probe]


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
        limits=GroupLimits(max_lanes=max_lanes),
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
        queries=tuple(judged(plan, query, request=request, values=values) for query in queries),
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


def _plan(a: Trajectory, b: Trajectory, *, request: BisectRequest, blobs: BlobStore) -> Plan:
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
    return Plan(
        a=a,
        b=b,
        differences=found,
        undone=tuple(undone),
        draws=draws,
        inflations={
            (stage, kind): inflation(b.log, stage, kind=kind, blobs=blobs) for stage, kind in draws
        },
    )


def _cost(plan: Plan) -> int:
    """Return the gradient-examples of all trajectories, an action counted once."""
    seen: dict[ActionKey, tuple[Advance, StageLog]] = {}
    for trajectory in plan.trajectories():
        seen |= {key_of(spec): (spec, trajectory.log) for spec in trajectory.chain}
    return sum(gradient_examples([spec], log) for spec, log in seen.values())
