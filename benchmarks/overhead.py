"""What the service adds to an audit: 1 - computing / (succeeded - accepted).

Usage: python -m benchmarks.overhead [--quick] [--json F]

A three-stage training is recorded and audited (skip of every stage, default estimator, loss and
accuracy) by a real service, and by ``run_audit`` in a process without a service; both start with
empty stores. The bound of 3 % holds for audits of 30 s or more. Computing is the sum of all
actions' seconds as the service counts them, so the remainder is planning, queueing, leases, blobs
between processes, database, signing. Pushing the log is not in it.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from auditor.audit.local import run_audit
from auditor.edge.folder import BLOBS_FOLDER, FolderBlobs, read_log
from auditor.edge.result_index import FolderIndex
from auditor.effects import Better, Query, QueryKind
from auditor.plan.request import AuditRequest
from auditor.record.evalset import save_evaluation_set
from auditor.record.recorder import Recorder
from auditor.stagelog.digest import Digest
from benchmarks.measuring import machine_facts, publish, read_options
from benchmarks.serving import running_service
from benchmarks.workloads import Workload, workloads
from service.client import Client
from service.executors.devices import threads_a_worker

OVERHEAD_BOUND = 0.03
LEAST_SECONDS = 30
STAGES = ("pretrain", "adapt", "finetune")
EVALUATION_EXAMPLES = 297


def record_pipeline(workload: Workload, folder: Path) -> None:
    """Record the training as three stages of equal length."""
    model = workload.build()
    recorder = Recorder(folder, model, run_name="overhead")
    data = recorder.dataset("train", {"x": workload.inputs, "y": workload.labels})
    for name, order in zip(STAGES, workload.order().chunk(len(STAGES)), strict=True):
        optimizer = workload.make_optimizer(model.parameters())
        with recorder.stage(
            name, optimizer=optimizer, loss="cross_entropy", inputs={"x": "x"}, target="y"
        ) as stage:
            for rows in order:
                stage.batch(data, rows)
                optimizer.zero_grad()
                output: Tensor = model(workload.inputs[rows])
                loss = functional.cross_entropy(output, workload.labels[rows])
                loss.backward()
                optimizer.step()


def make_request(log: Digest, heldout: Digest) -> AuditRequest:
    """Ask for the effect of every stage on loss and accuracy."""
    queries = tuple(
        Query(name=kind.value, kind=kind, better=better, data=heldout, target="y")
        for kind, better in ((QueryKind.LOSS, Better.LOWER), (QueryKind.ACCURACY, Better.HIGHER))
    )
    return AuditRequest(log=log, interventions="stages", queries=queries)


def audit_by_service(folder: Path, request: AuditRequest) -> dict[str, Any]:
    """Push, audit, and return the times of the audit as the service tells them."""
    with (
        running_service(folder / "data") as service,
        Client(service.address, token=service.token) as client,
    ):
        client.push_log(folder / "log")
        client.push_evaluation_set(folder / "heldout")
        audit = client.wait(client.create_audit(request))
    accepted, finished = (
        datetime.fromisoformat(audit[name]) for name in ("create_time", "finish_time")
    )
    wall = (finished - accepted).total_seconds()
    computing = float(audit["compute_seconds"])
    return {
        "accepted_to_succeeded_seconds": round(wall, 3),
        "computing_seconds": round(computing, 3),
        "overhead": round(1 - computing / wall, 4),
        "actions": audit["progress"]["actions"],
    }


def audit_locally(folder: Path, request: AuditRequest) -> float:
    """Return the wall time of the same audit without a service, with empty stores."""
    blobs = FolderBlobs(folder / "local")
    for source in ("log", "heldout"):
        own = FolderBlobs(folder / source / BLOBS_FOLDER)
        for path in (folder / source / BLOBS_FOLDER).rglob("*"):
            if path.is_file():
                blobs.write(own.read(Digest(path.name)))
        for manifest in (folder / source).glob("*.json"):
            blobs.write(manifest.read_bytes())
    torch.set_num_threads(threads_a_worker(None, workers=1))  # as many as the service's worker
    begin = time.perf_counter()
    run_audit(request, blobs=blobs, index=FolderIndex(folder / "results"), device="cpu")
    return time.perf_counter() - begin


def run_apart(folder: Path, request: AuditRequest) -> float:
    """Run :func:`audit_locally` in a new process, which has imported and traced nothing."""
    spec = folder / "request.json"
    spec.write_text(request.model_dump_json(by_alias=True, exclude_none=True))
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.overhead", "--local-of", str(folder)],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(answer.stdout)


def measure(folder: Path, *, scale: float) -> dict[str, Any]:
    """Return the figures of one audit."""
    (workload,) = (w for w in workloads(steps_scale=scale) if w.name == "MNIST CNN")
    record_pipeline(workload, folder / "log")
    heldout = save_evaluation_set(
        folder / "heldout",
        "heldout",
        {"x": workload.inputs[:EVALUATION_EXAMPLES], "y": workload.labels[:EVALUATION_EXAMPLES]},
    )
    _, log, _ = read_log(folder / "log")
    request = make_request(log, heldout)
    served = audit_by_service(folder, request)
    local = run_apart(folder, request)
    return served | {
        "local_seconds": round(local, 3),
        "relative_to_local": round(served["accepted_to_succeeded_seconds"] / local, 3),
        "parameters": workload.parameters,
        "steps": workload.steps,
        "bound": OVERHEAD_BOUND,
    }


def main(arguments: Sequence[str]) -> None:
    """Print the figures; exit with 1 when the bound is not kept by an audit that is long enough."""
    if arguments[:1] == ["--local-of"]:
        folder = Path(arguments[1])
        request = AuditRequest.model_validate_json((folder / "request.json").read_bytes())
        print(audit_locally(folder, request))
        return
    options = read_options(__doc__)
    facts = machine_facts()
    torch.set_num_threads(1)  # of the recording
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Path(folder), scale=0.1 if options.quick else 1.5)
    long_enough = results["accepted_to_succeeded_seconds"] >= LEAST_SECONDS
    kept = results["overhead"] <= OVERHEAD_BOUND
    publish(
        "overhead",
        options=options,
        facts=facts,
        results=results | {"long_enough": long_enough, "within_bound": kept},
    )
    sys.exit(0 if kept or not long_enough else 1)


if __name__ == "__main__":
    main(sys.argv[1:])
