"""A bench sets this process up for a while."""

import os

import pytest

from service.executors.bench import WORKSPACE, recorded_bench
from tests.support.memory_blobs import MemoryBlobs


@pytest.mark.parametrize("given", [None, ":16:8"])
def test_bench_leaves_the_environment_as_it_was(
    monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    monkeypatch.setenv(WORKSPACE, given or "")
    if given is None:
        monkeypatch.delenv(WORKSPACE)

    with recorded_bench(MemoryBlobs(), device="cpu", threads=1):
        inside = os.environ[WORKSPACE]

    assert inside == (given or ":4096:8")
    assert os.environ.get(WORKSPACE) == given
