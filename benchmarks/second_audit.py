"""A second audit of the same log and interventions, relative to the first: forward passes only.

Usage: python -m benchmarks.second_audit [--quick] [--json F]

The first audit asks for the held-out loss of ``mnist_nesterov``, the second for accuracy and margin
at the same interventions, in a process that has the log, the graph and its traces no more than a
new one would. ``exact`` retrains; ``auto`` stops at its first rung, a tenth of that, so that its
ratio is the worst case. What a second audit costs does not depend on how long the training was,
what the first costs does: ``short`` are the 285 steps of the fidelity workload, ``long`` ten times
as many, which is as much as three passes over the whole of MNIST. The bound is on ``exact`` of
``long``.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from auditor.audit.local import run_audit
from auditor.edge.result_index import FolderIndex
from auditor.effects import Query, QueryKind
from auditor.estimators.auto import AutoSettings
from auditor.estimators.retrain import RetrainSettings
from auditor.plan.request import AuditRequest
from auditor.plan.settings import EstimatorSettings
from benchmarks.fidelity.recording import Recorded, record
from benchmarks.fidelity.truth import boundaries_of
from benchmarks.fidelity.workload import Workload
from benchmarks.fidelity.workloads import WORKLOADS
from benchmarks.measuring import machine_facts, publish, read_options, seconds_of

BOUND = 0.01
LONG = 10
"""How many times the steps of the fidelity workload the longer training takes."""
TOLERANCE = 1e6  # any: a second audit then needs no trajectory that the first did not


def measure(recorded: Recorded, settings: EstimatorSettings, folder: Path) -> dict[str, float]:
    """Return the seconds of both audits and their ratio."""
    blobs = recorded.blobs(folder / "blobs")
    index = FolderIndex(folder / "index")
    loss = next(query for query in recorded.queries if isinstance(query, Query))
    others = tuple(
        loss.model_copy(update={"name": kind.value, "kind": kind, "reduction": "mean"})
        for kind in (QueryKind.ACCURACY, QueryKind.MARGIN)
    )

    def audit(*queries: Query) -> None:
        request = AuditRequest(
            log=recorded.log,
            interventions=tuple(recorded.interventions.values()),
            queries=queries,
            estimator=settings,
            consistency="skip",
        )
        run_audit(request, blobs=blobs, index=index, device="cpu")

    first, second = seconds_of(lambda: audit(loss)), seconds_of(lambda: audit(*others))
    return {"first": round(first, 2), "second": round(second, 3), "ratio": round(second / first, 4)}


def longer(workload: Workload, *, times: int) -> Workload:
    """Return the workload with every stage's batches repeated."""
    stages = tuple(
        replace(
            stage,
            batches=stage.batches.repeat(times, 1),
            learning_rates=stage.learning_rates.repeat(times),
        )
        for stage in workload.stages
    )
    return replace(workload, name=f"{workload.name} x {times}", stages=stages)


def main() -> None:
    """Print the figures."""
    options = read_options(__doc__)
    facts = machine_facts()
    short = WORKLOADS["tabular" if options.quick else "mnist_nesterov"](0, None)
    workloads = {"short": short, "long": longer(short, times=2 if options.quick else LONG)}
    asked: dict[str, EstimatorSettings] = {
        "auto": AutoSettings(tolerance=TOLERANCE),
        "exact": RetrainSettings(),
    }
    results: dict[str, Any] = {}
    for length, workload in workloads.items():
        with tempfile.TemporaryDirectory() as folder:
            recorded = record(workload, Path(folder), final_point=boundaries_of(workload)[-1])
            results[length] = {
                "workload": workload.name,
                "steps": sum(stage.steps for stage in workload.stages),
                **{
                    name: measure(recorded, settings, Path(folder) / name)
                    for name, settings in asked.items()
                },
            }
    publish("second_audit", options=options, facts=facts, results=results)
    kept = results["long"]["exact"]["ratio"] <= BOUND
    sys.exit(0 if kept or options.quick else 1)


if __name__ == "__main__":
    main()
