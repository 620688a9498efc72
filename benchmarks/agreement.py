"""How well each estimator agrees with exact retraining, on the log of the demo.

For skips of the first and the second stage: Pearson r over held-out examples between the estimated
and the exact effect on the loss of each example, the mean effect of both, and gradient-examples
relative to retraining, self-check included. The demo's training records the time it was made, which
keys the sub-samples, so that figures of replays vary a little from run to run.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load

from auditor.audit.local import run_audit
from auditor.edge.folder import BLOBS_FOLDER, EVALSET_FILE, FolderBlobs, read_log
from auditor.edge.layered import LayeredBlobs
from auditor.edge.result_index import FolderIndex
from auditor.effects import Better, Query, QueryKind
from auditor.estimators.aa_score import AaScoreSettings
from auditor.estimators.auto import AutoSettings
from auditor.estimators.checkpoint_delta import CheckpointDeltaSettings
from auditor.estimators.retrain import RetrainSettings
from auditor.estimators.subsampled_replay import SubsampledReplaySettings
from auditor.estimators.task_vector import TaskVectorSettings
from auditor.plan.request import AuditRequest, Intervention
from auditor.plan.settings import EstimatorSettings
from auditor.stagelog.digest import Digest, canonical_bytes
from benchmarks.measuring import machine_facts, publish, read_options
from service.demo.recording import DemoFolders, record_training, write_evaluation_data
from service.demo.training import plan_pipeline

ESTIMATORS: dict[str, EstimatorSettings] = {
    "retrain": RetrainSettings(),
    "auto": AutoSettings(),
    "auto, budget 1/2": AutoSettings(budget=0.5),
    "subsampled_replay 1/2 x 8": SubsampledReplaySettings(fraction=0.5, replicas=8),
    "subsampled_replay 1/4 x 8": SubsampledReplaySettings(fraction=0.25, replicas=8),
    "aa_score tangent": AaScoreSettings(),
    "task_vector": TaskVectorSettings(),
    "checkpoint_delta": CheckpointDeltaSettings(),
}
STAGES = ("pretrain", "vendor")


def measure(root: Path, *, seed: int) -> dict[str, Any]:
    """Return the figures of every estimator."""
    folders = DemoFolders(root=root)
    pipeline = plan_pipeline(seed)
    record_training(pipeline, folders.log)
    write_evaluation_data(pipeline, folders)
    blobs = LayeredBlobs(FolderBlobs(root / "results"))
    log, _, recorded = read_log(folders.log)
    heldout = folders.evaluation_set("heldout")
    for source in (recorded, FolderBlobs(heldout / BLOBS_FOLDER)):
        blobs.add(source)
    query = Query(
        name="loss",
        kind=QueryKind.LOSS,
        better=Better.LOWER,
        data=blobs.write((heldout / EVALSET_FILE).read_bytes()),
        reduction="none",
    )
    results: dict[str, Any] = {}
    exact: list[np.ndarray] = []
    for name, settings in ESTIMATORS.items():
        request = AuditRequest(
            log=blobs.write(canonical_bytes(log)),
            interventions=tuple(Intervention(kind="skip", stage=stage) for stage in STAGES),
            queries=(query,),
            estimator=settings,
        )
        report = run_audit(request, blobs=blobs, index=FolderIndex(root / "index"), device="cpu")
        assert report.examples is not None
        effects = load(bytes(blobs.read(Digest(report.examples.digest))))
        rows = [effects[f"loss/{effect.intervention}"] for effect in report.effects]
        exact = exact or rows
        results[name] = {
            "pearson": [
                round(float(np.corrcoef(row, truth)[0, 1]), 3)
                for row, truth in zip(rows, exact, strict=True)
            ],
            "mean_effect": [round(effect.known_value, 4) for effect in report.effects],
            "cost_examples": report.cost.examples_relative,
        }
    return results


def main() -> None:
    """Print the figures."""
    options = read_options(__doc__)
    facts = machine_facts()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Path(folder), seed=0)
    publish("agreement", options=options, facts=facts, results=results)
    sys.exit(0)


if __name__ == "__main__":
    main()
