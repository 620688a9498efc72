"""The logs that a worker keeps loaded count with all that they have grown by."""

import pytest
import torch

from auditor.audit.loaded_runs import GROWTH, LoadedRuns, loaded_bytes
from auditor.dynamics.held_bytes import stores_of
from auditor.dynamics.run import Run
from auditor.stagelog.digest import Digest, canonical_bytes
from tests.support.builders import RecordedRun, make_stage_log


@pytest.fixture(scope="module")
def run() -> RecordedRun:
    recorded = make_stage_log(stages=2)
    recorded.blobs.write(canonical_bytes(recorded.log))
    return recorded


@pytest.fixture(scope="module")
def twin(run: RecordedRun) -> Digest:
    """Return another log of the same size in the same store."""
    log = run.log.model_copy(update={"run": run.log.run.model_copy(update={"name": "twin"})})
    return run.blobs.write(canonical_bytes(log))


def grown(own: Run, size: int, *, name: str = "more") -> Run:
    """Let a run keep so many bytes more."""
    own.keep(name, lambda: {"tensors": (torch.zeros(size, dtype=torch.uint8),)})
    return own


def test_what_a_run_has_grown_by_leaves_no_room_for_older_ones(
    run: RecordedRun, twin: Digest
) -> None:
    size = loaded_bytes(run.log)
    runs = LoadedRuns(run.blobs, device="cpu", capacity_bytes=3 * size)
    older = runs(run.digest)
    newer = runs(twin)
    runs.trim()
    assert runs(run.digest) is older

    grown(runs(twin), 3 * size)
    runs.trim()

    assert runs(twin) is newer
    assert runs(run.digest) is not older


def test_evaluation_sets_that_were_asked_about_count(run: RecordedRun) -> None:
    own = LoadedRuns(run.blobs, device="cpu")(run.digest)
    before = sum(stores_of(own.kept, passing_over=Run).values())

    columns = own.evaluation_set(run.evaluation).columns.values()

    after = sum(stores_of(own.kept, passing_over=Run).values())
    assert after - before >= sum(column.nbytes for column in columns) > 0


def test_a_run_that_has_outgrown_its_manifest_is_loaded_again(run: RecordedRun) -> None:
    size = loaded_bytes(run.log)
    runs = LoadedRuns(run.blobs, device="cpu", capacity_bytes=size // 2)

    kept = grown(runs(run.digest), GROWTH * size)
    runs.trim()
    assert runs(run.digest) is kept

    grown(kept, 1, name="one more")
    runs.trim()
    assert runs(run.digest) is not kept
