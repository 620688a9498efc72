"""What an estimator says about a recorded workload, through an audit as a user runs it."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from safetensors.numpy import load

from auditor.audit.local import LocalProgress, prepare, run_audit
from auditor.edge.layered import LayeredBlobs
from auditor.edge.result_index import FolderIndex
from auditor.effects import Effect, Probe, Query
from auditor.errors import AuditorError, InputError, PreconditionError, UnsupportedError
from auditor.plan.request import AuditRequest, Intervention
from auditor.plan.settings import EstimatorSettings
from auditor.report.schema import Report
from auditor.stagelog.digest import Digest
from benchmarks.fidelity.interventions import Asked, asked_of
from benchmarks.fidelity.recording import REQUEST_SEED, Recorded
from benchmarks.fidelity.training import Point
from benchmarks.fidelity.truth import Floats, all_values, counterfactual
from benchmarks.fidelity.workload import Workload


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Time of some work: what a clock on the wall shows, and what the processor did."""

    wall_seconds: float
    cpu_seconds: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One row of a report: the effect, and its values per example where the estimator has them."""

    asked: Asked
    effect: Effect
    per_example: Floats | None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What an estimator said, what it cost, and what it would not or could not say.

    Attributes:
        estimates: One for each query and intervention it treats.
        spent: Time of the audit; None when there was none.
        cost_examples: Gradient-examples over those of retraining, as reported.
        not_treated: Queries and interventions it refuses, and why.
        failure: The diagnosis an audit ended with.
        tolerances: Of every intervention by its label, where a tolerance was asked for: the
            tolerance that was kept, or None where it was not.
    """

    estimates: tuple[Estimate, ...] = ()
    spent: Spent | None = None
    cost_examples: float | None = None
    not_treated: Mapping[str, str] = field(default_factory=dict)
    failure: str | None = None
    tolerances: Mapping[str, float | None] = field(default_factory=dict)


def timed(work: Callable[[], object]) -> Spent:
    """Return the time of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Spent(wall_seconds=time.perf_counter() - wall, cpu_seconds=time.process_time() - cpu)


def retraining_times(
    workload: Workload, boundaries: Sequence[Point], recorded: Recorded
) -> dict[str, Spent]:
    """Return what plain eager retraining of each intervention takes, its queries included."""

    def retrain(asked: Asked) -> None:
        model = counterfactual(workload, boundaries, asked=asked, feeds=recorded.feeds)
        all_values(workload, model)

    return {asked.key: timed(partial(retrain, asked)) for asked in asked_of(workload)}


def ask(
    workload: Workload,
    recorded: Recorded,
    settings: EstimatorSettings,
    *,
    on_progress: Callable[[LocalProgress], None] = lambda _: None,
) -> Answer:
    """Audit a recorded workload with one estimator, all it treats in one request.

    Args:
        workload: What was recorded.
        recorded: Its log and evaluation sets.
        settings: The estimator.
        on_progress: Told how far the audit is; raising stops it.

    Returns:
        Its answer; an audit that ends with a diagnosis is an answer too.
    """
    with tempfile.TemporaryDirectory() as folder:
        blobs = recorded.blobs(Path(folder) / "blobs")
        queries, interventions, not_treated = _treated(workload, recorded, settings, blobs=blobs)
        if not queries or not interventions:
            return Answer(not_treated=not_treated)
        request = _request(recorded, settings, queries=queries, interventions=interventions)
        reports: list[Report] = []
        index = FolderIndex(Path(folder) / "index")
        try:
            spent = timed(
                lambda: reports.append(
                    run_audit(
                        request, blobs=blobs, index=index, device="cpu", on_progress=on_progress
                    )
                )
            )
        except AuditorError as error:
            return Answer(not_treated=not_treated, failure=str(error))
        report = reports[0]
        return Answer(
            estimates=_estimates(workload, recorded, report, blobs=blobs),
            spent=spent,
            cost_examples=report.cost.examples_relative,
            not_treated=not_treated,
            tolerances={
                choice.intervention: choice.tolerance if choice.within_tolerance else None
                for choice in report.estimator.choices
            },
        )


def _request(
    recorded: Recorded,
    settings: EstimatorSettings,
    *,
    queries: Sequence[Query | Probe],
    interventions: Sequence[Intervention],
) -> AuditRequest:
    return AuditRequest(
        log=recorded.log,
        interventions=tuple(interventions),
        queries=tuple(queries),
        estimator=settings,
        baselines=(),
        consistency="skip",
        seed=REQUEST_SEED,
    )


def _treated(
    workload: Workload, recorded: Recorded, settings: EstimatorSettings, *, blobs: LayeredBlobs
) -> tuple[list[Query | Probe], list[Intervention], dict[str, str]]:
    """Return the queries and interventions that the estimator treats, and why not the others."""
    refused: dict[str, str] = {}
    skip = recorded.interventions[asked_of(workload)[0].key]

    def treats(name: str, query: Query | Probe, intervention: Intervention) -> bool:
        request = _request(recorded, settings, queries=(query,), interventions=(intervention,))
        try:
            prepare(request, blobs)
        except (UnsupportedError, PreconditionError) as error:
            refused[name] = str(error)
            return False
        except InputError as error:
            if not error.where.startswith("estimator."):
                raise
            refused[name] = str(error)  # a fraction, say, that leaves no example of these batches
            return False
        return True

    queries = [query for query in recorded.queries if treats(query.name, query, skip)]
    interventions = [
        intervention
        for key, intervention in recorded.interventions.items()
        if queries and treats(key, queries[0], intervention)
    ]
    return queries, interventions, refused


def _estimates(
    workload: Workload, recorded: Recorded, report: Report, *, blobs: LayeredBlobs
) -> tuple[Estimate, ...]:
    asked = {recorded.interventions[one.key].label: one for one in asked_of(workload)}
    values: Mapping[str, Floats] = {}
    if report.examples is not None:
        values = load(bytes(blobs.read(Digest(report.examples.digest))))
    return tuple(
        Estimate(
            asked=asked[effect.intervention],
            effect=effect,
            per_example=values.get(f"{effect.query}/{effect.intervention}"),
        )
        for effect in report.effects
    )
