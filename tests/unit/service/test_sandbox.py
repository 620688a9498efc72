"""The parse child: what it says, what it is stopped for, what it may not do."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from auditor.edge.clock import SystemClock
from auditor.edge.folder import FolderBlobs
from auditor.errors import ArtifactMissingError, InputError, ResourceError, StageLogError
from auditor.stagelog.digest import canonical_bytes, sha256
from service.config import Limits
from service.metrics import Metrics
from service.sandbox import Sandbox
from service.sandbox_child import answer
from tests.support.manifests import make_sets

MODEL = save({"a": np.zeros((2, 3)), "b": np.zeros(())})


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path)


def sandbox(blobs: FolderBlobs, *, metrics: Metrics | None = None, **limits: float) -> Sandbox:
    return Sandbox(
        blobs.root,
        limits=Limits.model_validate(limits),
        clock=SystemClock(),
        metrics=metrics or Metrics(),
    )


def test_one_child_serves_several_checks(blobs: FolderBlobs) -> None:
    good, bad = blobs.write(MODEL), blobs.write(b"bad")

    with sandbox(blobs).child(mapped_bytes=len(MODEL)) as child:
        described = child.model(good, form="safetensors")
        with pytest.raises(InputError):
            child.model(bad, form="safetensors")
        with pytest.raises(StageLogError):
            child.stage_log(bad)
        again = child.model(good, form="safetensors")

    assert (described.tensors, described.elements) == (2, 7)
    assert again == described


def test_missing_blob_is_missing(blobs: FolderBlobs) -> None:
    with (
        sandbox(blobs).child(mapped_bytes=0) as child,
        pytest.raises(ArtifactMissingError),
    ):
        child.stage_log(sha256(b"nothing"))


def test_evaluation_set_is_described(blobs: FolderBlobs) -> None:
    evaluation_set = next(iter(make_sets().values()))
    digest = blobs.write(canonical_bytes(evaluation_set))

    with sandbox(blobs).child(mapped_bytes=1000) as child:
        described = child.evaluation_set(digest)

    assert described.examples == evaluation_set.dataset.examples
    assert described.blobs == tuple(shard.digest for shard in evaluation_set.dataset.shards)


def test_blob_larger_than_the_address_space_names_the_limit(blobs: FolderBlobs) -> None:
    data = b"\0" * 2**20
    digest = blobs.write(data)
    metrics = Metrics()
    limited = sandbox(blobs, metrics=metrics, parse_address_space_bytes=300 * 2**20)
    huge = blobs.path(digest)
    huge.chmod(0o640)
    with huge.open("r+b") as file:
        file.truncate(400 * 2**20)  # sparse: costs no space

    with (
        limited.child(mapped_bytes=0) as child,
        pytest.raises(ResourceError, match="memory"),
    ):
        child.model(digest, form="safetensors")

    assert metrics.registry.get_sample_value(
        "stageaudit_sandbox_kills_total", {"limit": "memory"}
    ) == 1  # fmt: skip


def test_silent_child_is_stopped(blobs: FolderBlobs) -> None:
    digest = blobs.write(MODEL)

    with (
        sandbox(blobs, parse_wall_seconds=0).child(mapped_bytes=0) as child,
        pytest.raises(ResourceError, match="time"),
    ):
        child.model(digest, form="safetensors")


def test_unforeseen_end_is_an_input_error(blobs: FolderBlobs) -> None:
    with (
        sandbox(blobs, parse_address_space_bytes=1).child(mapped_bytes=0) as child,
        pytest.raises((InputError, ResourceError)),
    ):
        child.model(blobs.write(MODEL), form="safetensors")


def test_typed_error_is_an_answer(blobs: FolderBlobs) -> None:
    digest = blobs.write(b"bad")

    said = answer(json.dumps({"check": "stage_log", "digest": digest}), blobs=blobs)

    assert said["error"]["code"] == "INVALID_STAGE_LOG"


def test_child_imports_no_torch_and_has_limits(tmp_path: Path) -> None:
    program = (
        "import sys, resource; from service.sandbox_child import set_limits; "
        "set_limits(memory_bytes=2**30, mapped_bytes=5, cpu_seconds=7); "
        "import auditor.stagelog.content, auditor.model.onnx_graph, "
        "auditor.model.safetensors_header, auditor.stagelog.evaluation; "
        "assert 'torch' not in sys.modules; "
        "assert resource.getrlimit(resource.RLIMIT_AS)[1] == 2**30 + 5; "
        "assert resource.getrlimit(resource.RLIMIT_CPU)[1] == 7; "
        "file = open(sys.argv[1], 'wb', buffering=0)\n"
        "try: file.write(b'x')\n"
        "except OSError: print('no files')"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "file")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == "no files\n", done.stderr
