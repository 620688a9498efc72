"""What AA-Score costs: operations of a sweep over those of the run's own gradients.

Usage: python -m benchmarks.sweep_cost [--quick] [--json F]

``adjoint`` and ``tangent`` are gradients a step: floating-point operations of matrix products and
convolutions, counted by torch, over those of replaying the run. Steps are traced and the EK-FAC is
computed before, as they are once a log. The recomputation of the run is part of the figure.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from auditor.dynamics.adjoint import sweep
from auditor.dynamics.minibatches import Lane
from auditor.dynamics.tangent import stage_embedding, zeros_like
from auditor.dynamics.trajectory import replay
from auditor.plan.curvature import SampledCurvature, StepCurvature
from auditor.plan.request import Intervention
from benchmarks.measuring import machine_facts, publish, read_options
from benchmarks.workloads import Workload, record, workloads

CURVATURES: dict[str, StepCurvature] = {
    "none": "none",
    "ekfac": SampledCurvature(examples=128, seed=0),
    "ggn": "ggn",
    "exact": "exact",
}


def operations(function: Callable[[], object]) -> int:
    """Return the floating-point operations of a second call; the first one traces."""
    function()
    counter = FlopCounterMode(display=False)
    with counter:
        function()
    return counter.get_total_flops()


def quiet(_done: int, _total: int) -> None:
    """Progress is not shown."""


def measure(workload: Workload) -> dict[str, Any]:
    """Return gradients a step of both forms for every curvature."""
    with tempfile.TemporaryDirectory() as folder:
        run = record(workload, Path(folder) / "log")()
        final = run.boundary(1)
        zero = zeros_like(final)
        query = zero.replaced([torch.ones_like(final.theta), *zero.tensors[1:]])
        skip = Intervention(kind="skip", stage=run.log.stages[0].name)
        start = run.transition(0)(run.boundary(0))
        steps = range(run.log.stages[0].steps)
        gradients = operations(
            lambda: replay(run, 0, [start], lanes=[Lane()], steps=steps, on_block=quiet)
        )
        figures: dict[str, Any] = {"steps": len(steps)}
        for name, curvature in CURVATURES.items():
            adjoint = operations(lambda h=curvature: sweep(run, query, curvature=h, on_block=quiet))
            tangent = operations(
                lambda h=curvature: stage_embedding(run, skip, curvature=h, on_block=quiet)
            )
            figures[name] = {
                "adjoint": round(adjoint / gradients, 2),
                "tangent": round(tangent / gradients, 2),
            }
    return figures


def main() -> None:
    """Measure the trainings of ``benchmarks.workloads`` at few steps: costs are per step."""
    options = read_options(__doc__)
    found = list(workloads(steps_scale=0.05))
    results = {w.name: measure(w) for w in (found[:1] if options.quick else found)}
    publish("sweep_cost", options=options, facts=machine_facts(), results=results)


if __name__ == "__main__":
    main()
