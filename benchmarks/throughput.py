"""Many audits at once: of one log through the service, of many logs against plain eager torch.

Usage: python -m benchmarks.throughput [--quick] [--device D] [--only NAME] [--scale S]
       [--repeats N] [--json F]

At full length (``--scale 1``, three repeats) this takes the better part of an hour on two cores.

``one_log``: 32 audits of one log that ask for the same interventions, with queries in turn of four
kinds, submitted at once to a real service, relative to one of them alone; both with an empty store.
What they share is computed once, so the bound is 1.3.

``many_logs``: 32 audits of 32 logs of one architecture, each with its own initial values, data and
rate, relative to the same 32 trainings one after the other in plain eager torch, as a script would
run them; both sides also take the held-out loss. Ours are planned, grouped and executed by the
library in this process, from stored logs to reports, with a worker that has imported and traced
nothing. ``speedup`` is eager / ours, median over alternating repeats. ``lanes_per_group`` counts
trainings, ``busy_share`` is the part of the wall time in which the worker executed a group.
"""

import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from auditor.edge.folder import FolderBlobs, read_log
from auditor.effects import Better, Query, QueryKind
from auditor.estimators.retrain import RetrainSettings
from auditor.plan.request import AuditRequest
from auditor.record.evalset import save_evaluation_set
from auditor.stagelog.digest import Digest
from benchmarks.many_logs import (
    Audited,
    audit_all,
    record_all,
    requests_for,
    train_all,
    variants,
)
from benchmarks.measuring import (
    alternate,
    machine_facts,
    median_ratio,
    option_parser,
    options_of,
    publish,
)
from benchmarks.overhead import EVALUATION_EXAMPLES, record_pipeline
from benchmarks.serving import running_service
from benchmarks.workloads import Workload, workloads
from service.client import Client

AUDITS = 32
MAX_LANES = 64
ONE_LOG_BOUND = 1.3
CPU_BOUNDS = {"digits MLP": 5.0, "MNIST CNN": 1.4, "small transformer": 1.0}
GPU_BOUND = 8.0
KINDS = {
    QueryKind.LOSS: Better.LOWER,
    QueryKind.ACCURACY: Better.HIGHER,
    QueryKind.MARGIN: Better.HIGHER,
    QueryKind.LOG_LIKELIHOOD: Better.HIGHER,
}


def audits_of_one_log(log: Digest, heldout: Digest, *, count: int) -> list[AuditRequest]:
    """Return audits with the same interventions, and queries of the kinds in turn."""
    queries = [
        Query(name=kind.value, kind=kind, better=better, data=heldout, target="y")
        for kind, better in KINDS.items()
    ]
    return [
        AuditRequest(
            log=log,
            interventions="stages",
            queries=(queries[number % len(queries)],),
            estimator=RetrainSettings(),
            purpose=f"audit {number}",
        )
        for number in range(count)
    ]


def serve(folder: Path, requests: list[AuditRequest], *, data: Path) -> dict[str, float]:
    """Submit audits at once to a new service; return seconds until the last has its report."""
    with (
        running_service(data) as service,
        Client(service.address, token=service.token) as client,
    ):
        client.push_log(folder / "log")
        client.push_evaluation_set(folder / "heldout")
        names = [client.create_audit(request) for request in requests]
        audits = [client.wait(name) for name in names]
    accepted = min(datetime.fromisoformat(audit["create_time"]) for audit in audits)
    finished = max(datetime.fromisoformat(audit["finish_time"]) for audit in audits)
    return {
        "seconds": (finished - accepted).total_seconds(),
        "actions": float(sum(audit["progress"]["actions"] for audit in audits)),
    }


def measure_one_log(folder: Path, *, scale: float, count: int, repeats: int) -> dict[str, Any]:
    """Return how much longer many audits of one log take than one."""
    (workload,) = (w for w in workloads(steps_scale=scale) if w.name == "MNIST CNN")
    record_pipeline(workload, folder / "log")
    rows = slice(EVALUATION_EXAMPLES)
    columns = {"x": workload.inputs[rows], "y": workload.labels[rows]}
    heldout = save_evaluation_set(folder / "heldout", "heldout", columns)
    _, log, _ = read_log(folder / "log")
    requests = audits_of_one_log(log, heldout, count=count)
    found: dict[str, list[dict[str, float]]] = {"one": [], "all": []}
    for repeat in range(repeats):
        for side, asked in (("one", requests[:1]), ("all", requests)):
            own = serve(folder, asked, data=folder / f"data-{side}-{repeat}")
            found[side].append(own)
    seconds = {side: [own["seconds"] for own in runs] for side, runs in found.items()}
    return {
        "audits": count,
        "one_seconds": round(min(seconds["one"]), 2),
        "all_seconds": round(min(seconds["all"]), 2),
        "ratio": round(median_ratio(seconds, over="all", under="one"), 3),
        "bound": ONE_LOG_BOUND,
    }


def measure_many_logs(
    workload: Workload, folder: Path, *, count: int, repeats: int, device: str
) -> dict[str, Any]:
    """Return how much faster audits of many logs are than their trainings in a script."""
    blobs = FolderBlobs(folder / "blobs")
    trainings = list(variants(workload, count=count))
    logs = record_all(trainings, blobs)
    requests = requests_for(logs, workload, blobs)
    last: list[Audited] = []

    def ours() -> None:
        last[:] = [audit_all(requests, blobs, device=device, max_lanes=MAX_LANES)]
        synchronised(device)

    def eager() -> None:
        train_all(trainings, device=device)
        synchronised(device)

    train_all(trainings[:1], device=device)  # warms the allocator
    seconds = alternate({"eager": eager, "ours": ours}, repeats=repeats)
    bound = GPU_BOUND if device.startswith("cuda") else CPU_BOUNDS[workload.name]
    return {
        "speedup": round(median_ratio(seconds, over="eager", under="ours"), 2),
        "bound": bound,
        "eager_seconds": round(min(seconds["eager"]), 2),
        "ours_seconds": round(min(seconds["ours"]), 2),
        **last[0].figures,
        "steps": workload.steps,
        "repeats": repeats,
    }


def synchronised(device: str) -> None:
    """Wait until the device has done what it was told."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def main() -> None:
    """Print the figures; exit with 1 when a bound is not kept, unless the run is a quick one."""
    parser = option_parser(__doc__)
    parser.add_argument("--device", default="cpu", help="of many_logs, such as cuda:0")
    parser.add_argument("--only", help="one workload by name, or one_log")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the workloads' steps")
    parser.add_argument("--repeats", type=int, default=3, help="of both sides, alternately")
    arguments = parser.parse_args()
    options, device = options_of(arguments), str(arguments.device)
    facts = machine_facts()
    scale, repeats, count = arguments.scale, arguments.repeats, AUDITS
    if options.quick:
        scale, repeats, count = 0.1, 1, 8
    results: dict[str, Any] = {"device": device, "logs": count, "scale": scale, "many_logs": {}}
    for workload in workloads(steps_scale=scale):
        if arguments.only not in {None, workload.name}:
            continue
        with tempfile.TemporaryDirectory() as folder:
            results["many_logs"][workload.name] = measure_many_logs(
                workload, Path(folder), count=count, repeats=repeats, device=device
            )
    if device == "cpu" and arguments.only in {None, "one_log"}:
        with tempfile.TemporaryDirectory() as folder:
            results["one_log"] = measure_one_log(
                Path(folder), scale=scale, count=AUDITS, repeats=min(2, repeats)
            )
    kept = all(own["speedup"] >= own["bound"] for own in results["many_logs"].values())
    kept = kept and results.get("one_log", {}).get("ratio", 0.0) <= ONE_LOG_BOUND
    publish("throughput", options=options, facts=facts, results=results | {"within_bounds": kept})
    sys.exit(0 if kept or options.quick else 1)


if __name__ == "__main__":
    main()
