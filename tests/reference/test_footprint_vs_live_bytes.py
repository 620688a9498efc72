"""Predicted memory of an advance against the bytes that are alive while it runs."""

from pathlib import Path

import pytest

from auditor.edge.folder import read_log
from auditor.model.activations import example_activations
from auditor.plan.actions import Advance, Recorded
from auditor.plan.footprint import footprint
from auditor.stagelog.digest import Digest
from benchmarks.replay_memory import advance_peak, trainings
from benchmarks.workloads import record


@pytest.mark.parametrize("name", ["digits MLP, SGD with momentum", "digits MLP, AdamW"])
def test_a_lane_needs_about_what_is_predicted(name: str, tmp_path: Path) -> None:
    (workload,) = (own for own in trainings() if own.name == name)
    run = record(workload, tmp_path / "log")()
    log, digest, blobs = read_log(tmp_path / "log")
    activations = example_activations(log, lambda blob: blobs.read(Digest(blob)))
    spec = Advance(log=digest, stage=0, start=Recorded(boundary=0))

    predicted = footprint(spec, log, activations=activations)
    held = advance_peak(run, 1)

    assert predicted.lane / 2 < held < predicted.lane * 1.3
