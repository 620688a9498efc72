"""One workload and seed: record it, know the truth, ask every estimator, compare."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from auditor.audit.local import LocalProgress
from auditor.plan.settings import EstimatorSettings
from benchmarks.fidelity.acceptance import acceptance
from benchmarks.fidelity.estimates import Answer, Estimate, Spent, ask, retraining_times
from benchmarks.fidelity.interventions import asked_of
from benchmarks.fidelity.recording import Recorded, record
from benchmarks.fidelity.rows import Row, row_of
from benchmarks.fidelity.truth import Truth, boundaries_of, compute_truth, total_steps
from benchmarks.fidelity.truth_cache import store, stored, truth_key
from benchmarks.fidelity.workload import Workload
from benchmarks.fidelity.workloads import WORKLOADS


class Progress(Protocol):
    """Where the benchmark says how far it is."""

    def begin(self, what: str, total: int) -> None:
        """Start a piece of work of so many parts."""

    def advance(self, parts: int) -> None:
        """Some parts are done."""

    def set(self, done: int, total: int) -> None:
        """So many parts of a total are done."""


@dataclass(frozen=True, kw_only=True)
class Worlds:
    """How many other batch orders (E2) and reruns of the pipeline (E3)."""

    orders: int
    reruns: int


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Rows of one workload and seed, and facts about them."""

    rows: tuple[Row, ...]
    facts: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Ratios:
    """Wall and processor time over those of plain eager retraining; None without an audit."""

    wall: float | None = None
    cpu: float | None = None


def judge(
    name: str,
    seed: int,
    *,
    estimators: Mapping[str, EstimatorSettings],
    worlds: Worlds,
    cache: Path,
    progress: Progress,
) -> Judged:
    """Compare every estimator with the truth on one workload and seed.

    Plain retraining is timed before and after the estimators, so that what disturbs the machine
    disturbs both sides.

    Args:
        name: Of the workload.
        seed: Its seed.
        estimators: Settings by name.
        worlds: Numbers of orders and reruns.
        cache: Folder of truths.
        progress: Told how far it is.
    """
    workload: Workload = WORKLOADS[name](seed, None)
    steps = sum(stage.steps for stage in workload.stages)
    with tempfile.TemporaryDirectory() as folder:
        progress.begin(f"{name} {seed}: recording", 1)
        boundaries = boundaries_of(workload)
        recorded = record(workload, Path(folder), final_point=boundaries[-1])
        truth, truth_seconds = _truth(
            name, seed, recorded=recorded, worlds=worlds, cache=cache, progress=progress
        )
        before = retraining_times(workload, boundaries, recorded)
        answers: dict[str, Answer] = {}
        for estimator, settings in estimators.items():
            progress.begin(f"{name} {seed}: {estimator}", 1)
            answers[estimator] = ask(
                workload, recorded, settings, on_progress=partial(_show, progress)
            )
        after = retraining_times(workload, boundaries, recorded)
    retraining = {key: _mean(before[key], after[key]) for key in before}
    costs = {
        estimator: _relative(answer, workload, retraining) for estimator, answer in answers.items()
    }
    rows = tuple(
        row_of(
            estimate,
            truth.effects[estimate.effect.query, estimate.asked.key],
            workload=name,
            seed=seed,
            estimator=estimator,
            cost_examples=answer.cost_examples,
            cost_wall=costs[estimator].wall,
        )
        for estimator, answer in answers.items()
        for estimate in answer.estimates
    )
    facts = {
        "workload": name,
        "seed": seed,
        "steps": steps,
        "parameters": sum(p.numel() for p in workload.build().parameters()),
        "interventions": [one.key for one in asked_of(workload)],
        "factual": {query: float(values.mean()) for query, values in truth.factual.items()},
        "truth_seconds": truth_seconds,
        "retraining_seconds": sum(spent.wall_seconds for spent in retraining.values()),
        "cost_cpu": {name: cost.cpu for name, cost in costs.items()},
        "acceptance": {
            estimator: counts
            for estimator, answer in answers.items()
            if (counts := acceptance(answer, partial(_true_mean, truth))) is not None
        },
        "not_treated": {name: dict(a.not_treated) for name, a in answers.items() if a.not_treated},
        "failures": {name: a.failure for name, a in answers.items() if a.failure is not None},
    }
    return Judged(rows=rows, facts=facts)


def _truth(
    name: str,
    seed: int,
    *,
    recorded: Recorded,
    worlds: Worlds,
    cache: Path,
    progress: Progress,
) -> tuple[Truth, float | None]:
    """Return the truth, and how long it took unless it was known."""
    make = WORKLOADS[name]
    workload_of = partial(make, seed)
    key = truth_key(
        workload_of,
        make.__module__,
        feeds=recorded.feeds,
        orders=worlds.orders,
        reruns=worlds.reruns,
    )
    known = stored(cache, key)
    if known is not None:
        return known, None
    total = total_steps(workload_of(None), orders=worlds.orders, reruns=worlds.reruns)
    progress.begin(f"{name} {seed}: training again", total)
    began = time.perf_counter()
    truth = compute_truth(
        workload_of,
        recorded.feeds,
        orders=worlds.orders,
        reruns=worlds.reruns,
        on_stage=progress.advance,
    )
    store(cache, key, truth)
    return truth, time.perf_counter() - began


def _true_mean(truth: Truth, estimate: Estimate) -> float:
    return float(truth.effects[estimate.effect.query, estimate.asked.key].exact.mean())


def _relative(answer: Answer, workload: Workload, retraining: Mapping[str, Spent]) -> Ratios:
    """Return what the audit took over what retraining the same interventions takes."""
    if answer.spent is None:
        return Ratios()
    asked = {estimate.asked.key for estimate in answer.estimates}
    same = [retraining[one.key] for one in asked_of(workload) if one.key in asked]
    return Ratios(
        wall=answer.spent.wall_seconds / sum(spent.wall_seconds for spent in same),
        cpu=answer.spent.cpu_seconds / sum(spent.cpu_seconds for spent in same),
    )


def _mean(one: Spent, other: Spent) -> Spent:
    return Spent(
        wall_seconds=(one.wall_seconds + other.wall_seconds) / 2,
        cpu_seconds=(one.cpu_seconds + other.cpu_seconds) / 2,
    )


def _show(progress: Progress, state: LocalProgress) -> None:
    share = state.steps_done / max(1, state.steps_total)
    progress.set(round(100 * (state.actions_done + share)), 100 * max(1, state.actions_total))
