"""From the finished runs of a bisection to what explains the gap of a query."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from auditor.audit.bisect_compare import Difference
from auditor.audit.bisect_finding import BisectRequest, Explanation, QueryFinding
from auditor.audit.bisect_judge import cause_of, interval_of, verdict_of
from auditor.audit.bisect_plan import DrawKind, Trajectory, draw_kind
from auditor.audit.results import BlobValues
from auditor.effects import Probe, Query
from auditor.errors import NumericalError


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Everything that is run: the releases, each difference undone, each stage drawn anew."""

    a: Trajectory
    b: Trajectory
    differences: tuple[Difference, ...]
    undone: tuple[Trajectory, ...]
    draws: dict[tuple[int, DrawKind], tuple[Trajectory, ...]]
    inflations: dict[tuple[int, DrawKind], float]

    def trajectories(self) -> Iterator[Trajectory]:
        """Yield every run, the recorded ones first."""
        yield from (self.a, self.b, *self.undone)
        for drawn in self.draws.values():
            yield from drawn


def judged(
    plan: Plan, query: Query | Probe, *, request: BisectRequest, values: BlobValues
) -> QueryFinding:
    """Return what the finished runs say about one query."""
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
    plan: Plan,
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
