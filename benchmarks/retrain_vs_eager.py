"""Exact retraining of a recorded stage against the plain eager loop that was recorded.

Usage: python -m benchmarks.retrain_vs_eager [--quick] [--json F]

``warm`` is the wall time of ``advance`` over the whole stage, one lane, relative to the eager loop
over the same batches: median over alternating repeats; the bound is 1.1. ``first`` is the first
call on a freshly opened log, with reading, import and tracing. ``deviation`` is the largest
difference of a final parameter from the recorded one, relative to the largest parameter, and
``perturbed`` the same for the eager loop against itself, started 1e-7 beside: where the two are
alike, both sides did the same work and the training amplifies rounding.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from auditor.dynamics.minibatches import Lane
from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState
from auditor.dynamics.trajectory import advance
from benchmarks.measuring import (
    alternate,
    machine_facts,
    median_ratio,
    publish,
    read_options,
)
from benchmarks.workloads import Workload, record, train, workloads

BOUND = 1.1
PERTURBATION = 1e-7


def retrain(run: Run) -> TrainingState:
    """Carry the first boundary through the stage, as recorded."""
    lanes = [Lane(intervention=None, fraction=1.0, seed=0, replica=0)]
    advanced = advance(run, 0, [run.boundary(0)], lanes=lanes, on_block=lambda _done, _total: None)
    return advanced.states[0]


def relative_deviation(run: Run, state: TrainingState) -> float:
    """Return how far a state is from the recorded end of the run."""
    recorded = run.boundary(1).theta
    return float((state.theta - recorded).abs().max() / recorded.abs().max())


def perturbed_deviation(workload: Workload) -> float:
    """Return how far two eager trainings end from each other that start 1e-7 apart."""
    generator = torch.Generator().manual_seed(2)
    ends = []
    for size in (0.0, PERTURBATION):
        model = workload.build()
        with torch.no_grad():
            for parameter in model.parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.mul_(1 + size * noise)
        train(workload, model)
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    return float((ends[0] - ends[1]).abs().max() / ends[0].abs().max())


def measure(workload: Workload, *, repeats: int) -> dict[str, Any]:
    """Return the figures of one training."""
    with tempfile.TemporaryDirectory() as folder:
        open_run = record(workload, Path(folder) / "log")
        train(workload, workload.build())  # warms the allocator, as ours is below
        begin = time.perf_counter()
        run = open_run()
        retrain(run)
        first = time.perf_counter() - begin
        deviation = relative_deviation(run, retrain(run))
        seconds = alternate(
            {
                "eager": lambda: train(workload, workload.build()),
                "retrain": lambda: retrain(run),
            },
            repeats=repeats,
        )
    return {
        "parameters": workload.parameters,
        "batch": workload.batch,
        "steps": workload.steps,
        "repeats": repeats,
        "eager_ms_per_step": round(1e3 * min(seconds["eager"]) / workload.steps, 4),
        "retrain_ms_per_step": round(1e3 * min(seconds["retrain"]) / workload.steps, 4),
        "warm": round(median_ratio(seconds, over="retrain", under="eager"), 3),
        "first": round(first / min(seconds["eager"]), 3),
        "deviation": deviation,
        "perturbed": perturbed_deviation(workload),
    }


def main() -> None:
    """Print the figures; exit with 1 when a ratio exceeds the bound."""
    options = read_options(__doc__)
    facts = machine_facts()
    scale, repeats = (0.2, 3) if options.quick else (1.0, 7)
    results = {
        workload.name: measure(workload, repeats=repeats)
        for workload in workloads(steps_scale=scale)
    }
    kept = all(result["warm"] <= BOUND for result in results.values())
    publish(
        "retrain_vs_eager",
        options=options,
        facts=facts,
        results={"bound": BOUND, "within_bound": kept, "workloads": results},
    )
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
