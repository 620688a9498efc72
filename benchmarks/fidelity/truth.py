"""The truth of a workload: training again, in the recorded order, in others, from scratch.

E1, *exact*: the counterfactual of the recorded run, every later batch as recorded.
E2: the later stages in other batch orders. *single* compares each order's counterfactual with the
recorded final model, *paired* with the factual run in the same order.
E3, *rerun*: factual and counterfactual of the whole pipeline with other initial values and orders.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from benchmarks.fidelity.interventions import Asked, asked_of, drawn_feed, other_order
from benchmarks.fidelity.training import (
    Feed,
    Point,
    copied,
    enter,
    initial_point,
    query_values,
    train_stage,
)
from benchmarks.fidelity.workload import Workload, generator_for

Floats = NDArray[np.float64]
Values = Mapping[str, Floats]
"""Per-example values [N] of every query."""
Feeds = Mapping[str, Feed]
"""What each replace and drop uses in its stage, by the intervention's key."""
OnStage = Callable[[int], None]
"""Called with the number of steps of every stage that was run; raising stops."""


@dataclass(frozen=True, kw_only=True)
class Effects:
    """The truth about one query and intervention: gamma(factual) - gamma(counterfactual).

    Attributes:
        exact: E1, [N].
        single: In each other order against the recorded final model, [orders, N].
        paired: In each other order against the factual run in that order, [orders, N].
        rerun: Of each rerun of the pipeline, [reruns, N].
    """

    exact: Floats
    single: Floats
    paired: Floats
    rerun: Floats


@dataclass(frozen=True, kw_only=True)
class Truth:
    """All truths of a workload.

    Attributes:
        effects: By name of the query and key of the intervention.
        factual: Value of every query at the recorded final model, [N] each.
    """

    effects: Mapping[tuple[str, str], Effects]
    factual: Values


def boundaries_of(workload: Workload) -> list[Point]:
    """Train the workload and return the points before each stage and after the last, [T + 1]."""
    points = [initial_point(workload)]
    for stage in workload.stages:
        point = copied(points[-1])
        train_stage(workload, point, stage)
        points.append(point)
    return points


def after_stage(
    workload: Workload, boundaries: Sequence[Point], *, asked: Asked, feeds: Feeds
) -> Point:
    """Return where the intervened stage ends."""
    index = workload.stage_index(asked.stage)
    point, stage = copied(boundaries[index]), workload.stages[index]
    if asked.kind == "skip":
        enter(workload, point, stage)
    else:
        train_stage(workload, point, stage, feed=feeds[asked.key])
    return point


def finished(
    workload: Workload, point: Point, *, after: str, order: int | None = None
) -> nn.Module:
    """Return the final model: later stages run as they are, or in an order of E2."""
    point = copied(point)
    for stage in workload.stages[workload.stage_index(after) + 1 :]:
        feed = None if order is None else other_order(workload, stage, order)
        train_stage(workload, point, stage, feed=feed)
    return point.model


def counterfactual(
    workload: Workload, boundaries: Sequence[Point], *, asked: Asked, feeds: Feeds
) -> nn.Module:
    """Return the final model under an intervention, every later batch as the workload has it."""
    point = after_stage(workload, boundaries, asked=asked, feeds=feeds)
    return finished(workload, point, after=asked.stage)


def all_values(workload: Workload, model: nn.Module) -> dict[str, Floats]:
    """Return the per-example values of every query."""
    return {query.name: query_values(workload, query, model).numpy() for query in workload.queries}


def compute_truth(
    workload_of: Callable[[int | None], Workload],
    feeds: Feeds,
    *,
    orders: int,
    reruns: int,
    on_stage: OnStage = lambda _steps: None,
) -> Truth:
    """Retrain everything.

    Args:
        workload_of: The workload, and its reruns 0, 1, ...
        feeds: What the library's request draws for each replace and drop of the recorded run.
        orders: Other orders of E2.
        reruns: Reruns of E3.
        on_stage: Progress, in steps.

    Raises:
        DivergedError: If any of the trainings ends with parameters that are not finite.
    """
    workload = workload_of(None)
    boundaries = boundaries_of(workload)
    on_stage(_steps(workload))
    final = all_values(workload, boundaries[-1].model)
    asked = asked_of(workload)

    exact: dict[str, Values] = {}
    single: dict[str, list[Values]] = {one.key: [] for one in asked}
    paired: dict[str, list[Values]] = {one.key: [] for one in asked}
    for stage in workload.stages:
        own = [one for one in asked if one.stage == stage.name]
        starts = {one.key: after_stage(workload, boundaries, asked=one, feeds=feeds) for one in own}
        later = _steps(workload, after=stage.name)
        for one in own:
            model = finished(workload, starts[one.key], after=stage.name)
            exact[one.key] = difference(final, all_values(workload, model))
            on_stage(later + (0 if one.kind == "skip" else stage.steps))
        factual_start = boundaries[workload.stage_index(stage.name) + 1]
        for order in range(orders):
            factual = all_values(
                workload, finished(workload, factual_start, after=stage.name, order=order)
            )
            on_stage(later)
            for one in own:
                model = finished(workload, starts[one.key], after=stage.name, order=order)
                values = all_values(workload, model)
                single[one.key].append(difference(final, values))
                paired[one.key].append(difference(factual, values))
                on_stage(later)
    rerun = [
        _rerun_effects(workload_of(number), number, on_stage=on_stage) for number in range(reruns)
    ]
    return Truth(
        effects={
            (query.name, one.key): Effects(
                exact=exact[one.key][query.name],
                single=_stacked(single[one.key], query.name),
                paired=_stacked(paired[one.key], query.name),
                rerun=_stacked([effects[one.key] for effects in rerun], query.name),
            )
            for query in workload.queries
            for one in asked
        },
        factual=final,
    )


def total_steps(workload: Workload, *, orders: int, reruns: int) -> int:
    """Return how many updates :func:`compute_truth` runs."""
    factual = _steps(workload)
    exact = sum(_own_steps(workload, one) for one in asked_of(workload))
    by_order = sum(
        _steps(workload, after=stage.name)
        * (1 + sum(one.stage == stage.name for one in asked_of(workload)))
        for stage in workload.stages
    )
    return (1 + reruns) * (factual + exact) + orders * by_order


def difference(factual: Values, values: Values) -> dict[str, Floats]:
    """Return the effects [N] of every query."""
    return {name: factual[name] - values[name] for name in factual}


def _rerun_effects(workload: Workload, number: int, *, on_stage: OnStage) -> dict[str, Values]:
    boundaries = boundaries_of(workload)
    on_stage(_steps(workload))
    final = all_values(workload, boundaries[-1].model)
    effects: dict[str, Values] = {}
    for one in asked_of(workload):
        feeds: Feeds = {}
        if one.kind != "skip":
            generator = generator_for("E3", workload.name, workload.seed, number, one.key)
            feeds = {one.key: drawn_feed(workload, one, generator)}
        model = counterfactual(workload, boundaries, asked=one, feeds=feeds)
        effects[one.key] = difference(final, all_values(workload, model))
        on_stage(_own_steps(workload, one))
    return effects


def _own_steps(workload: Workload, asked: Asked) -> int:
    own = 0 if asked.kind == "skip" else workload.stages[workload.stage_index(asked.stage)].steps
    return own + _steps(workload, after=asked.stage)


def _steps(workload: Workload, *, after: str | None = None) -> int:
    first = 0 if after is None else workload.stage_index(after) + 1
    return sum(stage.steps for stage in workload.stages[first:])


def _stacked(values: Sequence[Values], query: str) -> Floats:
    return np.stack([one[query] for one in values])
