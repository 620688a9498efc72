"""Joint effects beside sums, Shapley values and timelines: their actions and their figures."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from auditor.audit.questions import plain_queries
from auditor.audit.results import BlobValues
from auditor.audit.rows import paired
from auditor.effects import Effect, Probe, Query
from auditor.errors import NumericalError
from auditor.estimators.base import Estimator, Floats, Question, Sample
from auditor.estimators.interval import summarise
from auditor.estimators.shapley import Coalition, coalitions, shapley_values
from auditor.plan.actions import ActionSpec, Sweep
from auditor.plan.asked import interventions_of
from auditor.plan.check_finer import players_of
from auditor.plan.curvature import step_curvature
from auditor.plan.finer import AllocationRequest, TimelineRequest
from auditor.plan.request import AuditRequest, Intervention, Joint
from auditor.plan.settings import DEFAULT_CURVATURE_EXAMPLES
from auditor.report.finer import (
    AllocatedValue,
    Allocation,
    JointEffect,
    StageSum,
    Timeline,
    TimelineWindow,
)
from auditor.report.wording import joint_text
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import parse_digest
from auditor.stagelog.log import StageLog
from auditor.stagelog.schedule import read_schedule


def finer_actions(
    request: AuditRequest, log: StageLog, *, estimator: Estimator
) -> Iterator[ActionSpec]:
    """Yield what Shapley values and timelines need."""
    if request.allocation is not None:
        for query in _asked(request, request.allocation):
            for skipped in coalitions(players_of(request.allocation, log)):
                for question in _questions(
                    request, log, query, intervention=skipping(skipped, log)
                ):
                    yield question.factual
                    yield from estimator.actions(question)
    if request.timelines is not None:
        for query in _asked(request, request.timelines):
            for question in _questions(request, log, query, intervention=_any(log)):
                yield sweep_of(question, request.timelines)


def allocations_of(
    request: AuditRequest, log: StageLog, values: BlobValues, *, estimator: Estimator
) -> tuple[tuple[Allocation, ...], tuple[str, ...]]:
    """Return the Shapley values of every query asked, and queries whose trajectories diverge."""
    if request.allocation is None:
        return (), ()
    players = players_of(request.allocation, log)
    found, diverging = [], []
    for query in _asked(request, request.allocation):
        try:
            samples = _samples(request, log, query, estimator=estimator, values=values)
        except NumericalError:
            diverging.append(query.name)
            continue
        rows = [
            AllocatedValue(
                stage=stage, value=figures.value or 0.0, low=figures.low, high=figures.high
            )
            for stage, sample in shapley_values(players, samples).items()
            for figures in [summarise(sample, confidence=request.confidence)]
        ]
        found.append(
            Allocation(
                query=query.name,
                unit=query.unit,
                context=request.allocation.context,
                values=tuple(rows),
                total=float(samples[frozenset(players)].effects.mean()),
                confidence=request.confidence if rows[0].low is not None else None,
            )
        )
    return tuple(found), tuple(diverging)


def _samples(
    request: AuditRequest,
    log: StageLog,
    query: Query | Probe,
    *,
    estimator: Estimator,
    values: BlobValues,
) -> dict[Coalition, Sample]:
    """Return what skipping every set of players does to a query."""
    allocation = request.allocation
    players = () if allocation is None else players_of(allocation, log)
    found = {}
    for skipped in coalitions(players):
        questions = _questions(request, log, query, intervention=skipping(skipped, log))
        found[skipped] = paired([estimator.sample(question, values) for question in questions])
    return found


def skipping(stages: Coalition, log: StageLog) -> Intervention | Joint:
    """Return the intervention that skips some stages, at least one, in the log's order."""
    parts = tuple(
        Intervention(kind="skip", stage=stage.name) for stage in log.stages if stage.name in stages
    )
    return parts[0] if len(parts) == 1 else Joint(parts=parts)


def timelines_of(
    request: AuditRequest, log: StageLog, values: BlobValues, *, blobs: BlobStore
) -> tuple[Timeline, ...]:
    """Return the timeline of every query asked."""
    if request.timelines is None:
        return ()
    windows = windows_of([stage.steps for stage in log.stages], count=request.timelines.windows)
    rates = [_learning_rates(log, index, blobs) for index in range(len(log.stages))]
    found = []
    for query in _asked(request, request.timelines):
        steps = [
            values.per_step(sweep_of(question, request.timelines))
            for question in _questions(request, log, query, intervention=_any(log))
        ]
        effects: Floats = steps[0] if len(steps) == 1 else steps[0] - steps[1]  # [K]
        bounds = np.cumsum([0, *(stage.steps for stage in log.stages)])
        own = [effects[first:end] for first, end in pairwise(bounds)]
        found.append(
            Timeline(
                query=query.name,
                unit=query.unit,
                curvature=request.timelines.curvature,
                windows=tuple(
                    TimelineWindow(
                        stage=log.stages[index].name,
                        first_step=log.stages[index].first_step + first,
                        end_step=log.stages[index].first_step + end,
                        value=float(own[index][first:end].sum()),
                        learning_rate=float(rates[index][first:end].mean()),
                    )
                    for index, first, end in windows
                ),
                stages=tuple(
                    StageSum(stage=stage.name, value=float(part.sum()))
                    for stage, part in zip(log.stages, own, strict=True)
                ),
            )
        )
    return tuple(found)


def sweep_of(question: Question, timelines: TimelineRequest) -> Sweep:
    """Return the backward sweep that a query's timeline is read from."""
    curvature = step_curvature(
        timelines.curvature, examples=DEFAULT_CURVATURE_EXAMPLES, seed=question.seed
    )
    return Sweep(log=question.log_digest, query=question.bare_query, curvature=curvature)


def windows_of(steps: Sequence[int], *, count: int) -> list[tuple[int, int, int]]:
    """Return windows (stage, first, end) that never cross stages, ``count`` of them in all.

    Every stage has at least one and at most one a step; otherwise their lengths are as equal as
    they can be.

    Args:
        steps: Of each stage.
        count: From the number of stages to that of steps.
    """
    parts = [1] * len(steps)
    for _ in range(count - len(steps)):
        longest = max(
            (index for index, n in enumerate(parts) if n < steps[index]),
            key=lambda index: steps[index] / parts[index],
        )
        parts[longest] += 1
    windows = []
    for index, n in enumerate(parts):
        bounds = [steps[index] * i // n for i in range(n + 1)]
        windows += [(index, a, b) for a, b in pairwise(bounds)]
    return windows


def joint_effects(
    request: AuditRequest, log: StageLog, effects: Sequence[Effect]
) -> tuple[JointEffect, ...]:
    """Return every joint effect whose parts were asked for on their own too."""
    rows = {(effect.query, effect.intervention): effect for effect in effects}
    found = []
    joints = [one for one in interventions_of(request, log) if isinstance(one, Joint)]
    for one in joints:
        for query in request.queries:
            joint = rows.get((query.name, one.label))
            found_parts = [rows.get((query.name, part.label)) for part in one.parts]
            single = [part for part in found_parts if part is not None and part.value is not None]
            if joint is None or joint.value is None or len(single) < len(one.parts):
                continue
            stages = tuple(part.stage for part in one.parts)
            found.append(
                JointEffect(
                    query=query.name,
                    intervention=one.label,
                    stages=stages,
                    value=joint.value,
                    single_sum=float(sum(part.value or 0.0 for part in single)),
                    text=joint_text(stages, joint, single),
                )
            )
    return tuple(found)


def _asked(
    request: AuditRequest, finer: AllocationRequest | TimelineRequest
) -> tuple[Query | Probe, ...]:
    names = finer.queries
    return tuple(query for query in request.queries if names is None or query.name in names)


def _questions(
    request: AuditRequest,
    log: StageLog,
    query: Query | Probe,
    *,
    intervention: Intervention | Joint,
) -> list[Question]:
    return [
        Question(
            log=log,
            log_digest=request.log,
            intervention=intervention,
            query=plain,
            seed=request.seed,
        )
        for plain in plain_queries(query)
    ]


def _any(log: StageLog) -> Intervention:
    """Return an intervention for questions that are about the whole run."""
    return Intervention(kind="skip", stage=log.stages[0].name)


def _learning_rates(log: StageLog, index: int, blobs: BlobStore) -> Floats:
    """Return the learning rate of every step of a stage, averaged over groups, [steps]."""
    where = f"stages[{index}].schedule"
    digest = parse_digest(log.stages[index].schedule or "", where=where)
    rates: Floats = read_schedule(blobs.read(digest), where=where).columns["lr"].mean(axis=1)
    return rates
