"""Eight lanes that advance together against the same eight one after the other.

Usage: python -m benchmarks.lanes [--quick] [--json F]

``speedup`` is the wall time of eight single advances relative to one advance of eight lanes, median
over alternating repeats, everything traced before. ``shared`` lanes use the same whole batches,
``own`` lanes half of each batch, drawn for their own replica, as sub-sampled replays do. What
pays depends on how full the device is, which is why group sizes come from measurements.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from auditor.dynamics.minibatches import Lane
from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState
from auditor.dynamics.trajectory import advance
from benchmarks.measuring import alternate, machine_facts, median_ratio, publish, read_options
from benchmarks.workloads import Workload, record, workloads

LANES = 8
FRACTIONS = {"shared": 1.0, "own": 0.5}


def together(run: Run, lanes: Sequence[Lane]) -> list[TrainingState]:
    """Advance all lanes in one group."""
    start = run.boundary(0)
    return advance(
        run, 0, [start] * len(lanes), lanes=lanes, on_block=lambda _done, _total: None
    ).states


def apart(run: Run, lanes: Sequence[Lane]) -> list[TrainingState]:
    """Advance one lane after the other."""
    return [together(run, [lane])[0] for lane in lanes]


def largest_difference(one: list[TrainingState], other: list[TrainingState]) -> float:
    """Return how far grouped lanes are from single ones."""
    return max(float((a.theta - b.theta).abs().max()) for a, b in zip(one, other, strict=True))


def measure(workload: Workload, *, fraction: float, repeats: int) -> dict[str, Any]:
    """Return the figures of one training and kind of lane."""
    lanes = [
        Lane(intervention=None, fraction=fraction, seed=0, replica=replica)
        for replica in range(LANES)
    ]
    with tempfile.TemporaryDirectory() as folder:
        run = record(workload, Path(folder) / "log")()
        difference = largest_difference(together(run, lanes), apart(run, lanes))
        seconds = alternate(
            {"together": lambda: together(run, lanes), "apart": lambda: apart(run, lanes)},
            repeats=repeats,
        )
    return {
        "speedup": round(median_ratio(seconds, over="apart", under="together"), 2),
        "together_ms_per_step_and_lane": round(
            1e3 * min(seconds["together"]) / workload.steps / LANES, 4
        ),
        "largest_difference": difference,
    }


def main() -> None:
    """Print the figures."""
    options = read_options(__doc__)
    facts = machine_facts()
    scale, repeats = (0.1, 1) if options.quick else (0.4, 3)
    results = {
        workload.name: {
            kind: measure(workload, fraction=fraction, repeats=repeats)
            for kind, fraction in FRACTIONS.items()
        }
        for workload in workloads(steps_scale=scale)
    }
    publish("lanes", options=options, facts=facts, results={"lanes": LANES, "workloads": results})


if __name__ == "__main__":
    main()
