"""Two workers on a Ray cluster of this machine against one: independent groups, one thread each.

Usage: python -m benchmarks.ray_workers [--quick] [--json F]

One stage of the MNIST CNN is recorded and audited by fading it to different degrees, one action a
group, so that no group waits for another. Both sides are services with a cluster of their own, side
by side and used in turns; starting them and sending the log are not timed, accepted to succeeded
is. Beside the ratio, as parts of that span: how long the workers computed, and the processor time
of the front end. The ratio needs two cores that nothing else uses; busy workers are the service's.
"""

import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from auditor.edge.folder import read_log
from auditor.effects import Better, Query, QueryKind
from auditor.estimators.retrain import RetrainSettings
from auditor.plan.request import AuditRequest, Intervention
from auditor.record.evalset import save_evaluation_set
from auditor.stagelog.digest import Digest
from benchmarks.measuring import cpu_seconds, machine_facts, publish, read_options
from benchmarks.serving import Service, running_service
from benchmarks.workloads import record, workloads
from service.client import Client

BOUND = 1.7
GROUPS = 12
REPEATS = 3
EVALUATION_EXAMPLES = 297
WORKERS = {"one": 1, "two": 2}


@dataclass(frozen=True, kw_only=True)
class Side:
    """A running service and what its audits took."""

    service: Service
    workers: int
    seconds: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    front_end: list[float] = field(default_factory=list)

    def audit(self, request: AuditRequest) -> None:
        """Run an audit and note its span and the front end's part of a processor in it."""
        before = cpu_seconds(self.service.pid)
        with Client(self.service.address, token=self.service.token) as client:
            audit = client.wait(client.create_audit(request))
        accepted, finished = (
            datetime.fromisoformat(audit[name]) for name in ("create_time", "finish_time")
        )
        seconds = (finished - accepted).total_seconds()
        self.seconds.append(seconds)
        self.busy.append(float(audit["compute_seconds"]) / (self.workers * seconds))
        self.front_end.append((cpu_seconds(self.service.pid) - before) / seconds)


def make_request(log: Digest, heldout: Digest, *, repeat: int) -> AuditRequest:
    """Ask for the loss under retrainings that share nothing, with each other or with others."""
    count = GROUPS * (1 + REPEATS)
    return AuditRequest(
        log=log,
        interventions=tuple(
            Intervention(kind="fade", stage="train", alpha=(repeat * GROUPS + i + 0.5) / count)
            for i in range(GROUPS)
        ),
        queries=(
            Query(name="loss", kind=QueryKind.LOSS, better=Better.LOWER, data=heldout, target="y"),
        ),
        estimator=RetrainSettings(),
        consistency="skip",
    )


def settings_of(workers: int) -> dict[str, str]:
    """Return the settings of a service whose groups hold one action."""
    return {
        "STAGEAUDIT_EXECUTOR": "ray",
        "STAGEAUDIT_RAY__WORKERS": str(workers),
        "STAGEAUDIT_THREADS_PER_WORKER": "1",
        "STAGEAUDIT_MAX_LANES": "1",
    }


def measure(folder: Path, *, scale: float, repeats: int) -> dict[str, Any]:
    """Return the figures; the first audit of each side warms it up and is not counted."""
    (workload,) = (w for w in workloads(steps_scale=scale) if w.name == "MNIST CNN")
    record(workload, folder / "log")
    heldout = save_evaluation_set(
        folder / "heldout",
        "heldout",
        {"x": workload.inputs[:EVALUATION_EXAMPLES], "y": workload.labels[:EVALUATION_EXAMPLES]},
    )
    _, log, _ = read_log(folder / "log")
    with ExitStack() as running:
        sides = {}
        for name, workers in WORKERS.items():
            service = running.enter_context(
                running_service(folder / name, settings=settings_of(workers))
            )
            with Client(service.address, token=service.token) as client:
                client.push_log(folder / "log")
                client.push_evaluation_set(folder / "heldout")
            sides[name] = Side(service=service, workers=workers)
        for repeat in range(1 + repeats):
            turns = list(sides.values())
            for side in turns if repeat % 2 == 0 else reversed(turns):
                side.audit(make_request(log, heldout, repeat=repeat))
    one, two = sides["one"].seconds[1:], sides["two"].seconds[1:]
    return {
        "speedup": round(statistics.median(a / b for a, b in zip(one, two, strict=True)), 3),
        "seconds": {name: [round(s, 2) for s in side.seconds] for name, side in sides.items()},
        "workers_busy": {
            name: round(statistics.median(side.busy[1:]), 3) for name, side in sides.items()
        },
        "front_end_share_of_a_core": {
            name: round(statistics.median(side.front_end[1:]), 3) for name, side in sides.items()
        },
        "groups": GROUPS,
        "steps": workload.steps,
        "bound": BOUND,
    }


def main() -> None:
    """Print the figures; exit with 1 when the bound is not kept."""
    options = read_options(__doc__)
    facts = machine_facts()
    torch.set_num_threads(1)  # of the recording
    with tempfile.TemporaryDirectory() as folder:
        results = (
            measure(Path(folder), scale=0.1, repeats=1)
            if options.quick
            else measure(Path(folder), scale=1.0, repeats=REPEATS)
        )
    kept = results["speedup"] >= BOUND
    publish("ray_workers", options=options, facts=facts, results=results | {"within_bound": kept})
    sys.exit(0 if kept or options.quick else 1)


if __name__ == "__main__":
    main()
