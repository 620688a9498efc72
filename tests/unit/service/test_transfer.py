"""Blobs are put into messages that fit, and files are read as they are sent."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import InputError
from auditor.stagelog.digest import sha256
from service.transfer import (
    BATCH_BYTES,
    BATCH_COUNT,
    CHUNK_BYTES,
    BytesSource,
    Counter,
    FileSource,
    batches,
    digest_of_source,
)


@given(st.lists(st.integers(0, BATCH_BYTES), max_size=40))
def test_batches_hold_every_blob_once_and_fit(lengths: list[int]) -> None:
    sizes = {sha256(bytes([i])): length for i, length in enumerate(lengths)}

    found = [list(batch) for batch in batches(sizes)]

    assert [digest for batch in found for digest in batch] == list(sizes)
    assert all(sum(sizes[digest] for digest in batch) <= BATCH_BYTES for batch in found)


def test_batches_are_cut_by_count_too() -> None:
    sizes = {sha256(i.to_bytes(2, "big")): 0 for i in range(BATCH_COUNT + 1)}

    assert [len(batch) for batch in batches(sizes)] == [BATCH_COUNT, 1]


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1])
@pytest.mark.parametrize("offset", [0, 1])
def test_file_and_bytes_give_the_same_parts(tmp_path: Path, size: int, offset: int) -> None:
    data = bytes(i % 251 for i in range(size))
    path = tmp_path / "file"
    path.write_bytes(data)

    parts = list(FileSource(path).parts(offset))

    assert parts == list(BytesSource(data).parts(offset))
    assert b"".join(parts) == data[offset:]
    assert all(0 < len(part) <= CHUNK_BYTES for part in parts)
    assert digest_of_source(FileSource(path)) == sha256(data)


def test_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gone"):
        FileSource(tmp_path / "gone")


def test_counter_adds_up_parts() -> None:
    told: list[tuple[int, int]] = []
    counter = Counter(10, on_progress=lambda done, total: told.append((done, total)))

    counter.set("a", 3)
    counter.set("b", 4)
    counter.set("a", 6)

    assert told == [(3, 10), (7, 10), (10, 10)]
