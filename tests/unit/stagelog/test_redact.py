"""A log without all of its data: what is left, what it says of itself, what it leaks."""

import hashlib
import hmac
from dataclasses import replace

import numpy as np
import pytest
import torch

from auditor.dynamics.consistency import check_segment
from auditor.dynamics.run import Run
from auditor.errors import AuditorError, DomainError, InputError, PreconditionError, StageLogError
from auditor.model.tensors import read_tensors, write_tensors
from auditor.stagelog.content import check_content
from auditor.stagelog.digest import Digest, digest_of
from auditor.stagelog.log import StageLog
from auditor.stagelog.pack import Packed, pack_tensors
from auditor.stagelog.redact import Redaction, no_longer_answerable, redact
from auditor.stagelog.row_hashes import HASHES, hash_rows
from auditor.stagelog.validate import parse_manifest, validate
from tests.support.builders import RecordedRun, make_stage_log
from tests.support.cases import quiet
from tests.support.memory_blobs import MemoryBlobs

KEY = b"0123456789abcdef"


@pytest.fixture(scope="module")
def run() -> RecordedRun:
    return make_stage_log(stages=2)


def redacted(run: RecordedRun, redaction: Redaction) -> tuple[StageLog, MemoryBlobs]:
    """Redact, and hold the result to everything that a log must be."""
    target = MemoryBlobs()
    log = redact(run.log, redaction, source=run.blobs, target=target)
    validate(log)
    check_content(log, target)
    assert parse_manifest(log.model_dump_json(by_alias=True, exclude_none=True).encode()) == log
    return log, target


def columns(log: StageLog, blobs: MemoryBlobs, name: str) -> dict[str, torch.Tensor]:
    (shard,) = log.datasets[name].shards
    return read_tensors(blobs.read(Digest(shard.digest)), where=name)


def test_sample_holds_rows_of_the_original_and_says_of_how_many(run: RecordedRun) -> None:
    log, blobs = redacted(run, Redaction(sample=10, seed=3))

    dataset = log.datasets["data0"]
    assert (dataset.coverage.kind, dataset.coverage.of, dataset.coverage.seed) == ("sample", 48, 3)
    before = read_tensors(
        run.blobs.read(Digest(run.log.datasets["data0"].shards[0].digest)), where="before"
    )
    after = columns(log, blobs, "data0")
    rows = [before["x"].tolist().index(x) for x in after["x"].tolist()]
    assert len(rows) == 10
    assert rows == sorted(set(rows))
    assert torch.equal(before["label"][rows], after["label"])
    assert log.level == 1
    assert all(stage.batches is None for stage in log.stages)


def test_redacted_log_names_the_original(run: RecordedRun) -> None:
    log, _ = redacted(run, Redaction(sample=10))

    assert log.origin is not None
    assert (log.origin.kind, log.origin.log) == ("redacted", run.digest)
    assert digest_of(log) != run.digest


def test_nothing_of_the_left_out_data_is_in_the_store(run: RecordedRun) -> None:
    _, blobs = redacted(run, Redaction(key=KEY))
    x = run.blobs.read(Digest(run.log.datasets["data0"].shards[0].digest))
    first = bytes(x[-48 * 4 * 8 :][:32])

    assert not any(first in data for data in blobs.stored.values())
    assert not any(b"vendor" in data for data in blobs.stored.values())


def test_categories_of_left_out_examples_are_gone(run: RecordedRun) -> None:
    log, _ = redacted(run, Redaction(key=KEY))

    assert "vendor" not in log.model_dump_json()


def test_hash_is_hmac_of_the_columns_in_order(run: RecordedRun) -> None:
    """Written out here once more, from its description."""
    log, blobs = redacted(run, Redaction(key=KEY))
    coverage = log.datasets["data0"].coverage
    stored = read_tensors(blobs.read(Digest(str(coverage.hashes))), where="hashes")[HASHES]
    before = read_tensors(
        run.blobs.read(Digest(run.log.datasets["data0"].shards[0].digest)), where="before"
    )
    parts = [
        b"label", b"int64", b"()", before["label"][1].numpy().tobytes(),
        b"source", b"text", b"", b"vendor",
        b"x", b"float64", b"(4,)", before["x"][1].numpy().tobytes(),
    ]  # fmt: skip
    message = b"".join(len(part).to_bytes(8, "little") + part for part in parts)

    expected = hmac.new(KEY, message, hashlib.sha256).digest()
    assert bytes(stored[1].tolist()) == expected


def test_who_has_the_key_can_show_that_an_example_was_there(run: RecordedRun) -> None:
    log, blobs = redacted(run, Redaction(key=KEY))
    stored = read_tensors(
        blobs.read(Digest(str(log.datasets["data0"].coverage.hashes))), where="hashes"
    )[HASHES].numpy()
    shard = read_tensors(
        run.blobs.read(Digest(run.log.datasets["data0"].shards[0].digest)), where="before"
    )
    row = {"x": shard["x"][5:6].numpy(), "label": shard["label"][5:6].numpy(), "source": ["vendor"]}

    assert (stored == hash_rows(row, key=KEY)).all(axis=1).tolist().index(True) == 5
    assert not (stored == hash_rows(row, key=b"another key, too")).all(axis=1).any()
    row["source"] = ["own"]
    assert not (stored == hash_rows(row, key=KEY)).all(axis=1).any()


def test_hashes_keep_the_batches(run: RecordedRun) -> None:
    log, _ = redacted(run, Redaction(key=KEY))

    assert [s.batches for s in log.stages] == [s.batches for s in run.log.stages]
    assert log.level == 1


def test_replay_of_hashed_data_is_refused_with_the_reason(run: RecordedRun) -> None:
    log, blobs = redacted(run, Redaction(key=KEY))

    with pytest.raises(PreconditionError, match="coverage hashes"):
        check_segment(Run(log, digest_of(log), blobs), 0, on_block=quiet)


def test_dropped_column_costs_no_level(run: RecordedRun) -> None:
    log, blobs = redacted(run, Redaction(drop_columns=("source",)))

    assert "source" not in log.datasets["data1"].columns
    assert log.level == 2
    finding = check_segment(Run(log, digest_of(log), blobs), 1, on_block=quiet)
    assert finding.verdict == "consistent"
    assert no_longer_answerable(run.log, log) == ("what to blame by source",)


def test_one_dataset_alone(run: RecordedRun) -> None:
    log, _ = redacted(run, Redaction(datasets=("data1",), sample=5))

    assert log.datasets["data0"] == run.log.datasets["data0"]
    assert [stage.batches is None for stage in log.stages] == [False, True]


def test_redacting_twice_keeps_what_was_said(run: RecordedRun) -> None:
    first, blobs = redacted(run, Redaction(drop_columns=("source",)))
    second = redact(first, Redaction(sample=5), source=blobs, target=blobs)

    assert second.origin is not None
    assert second.origin.log == digest_of(first)
    assert len(second.origin.gaps) == 2


@pytest.mark.parametrize(
    ("redaction", "error"),
    [
        (Redaction(), InputError),
        (Redaction(sample=5, key=KEY), InputError),
        (Redaction(sample=49), InputError),
        (Redaction(sample=5, datasets=("none",)), InputError),
        (Redaction(drop_columns=("none",)), InputError),
        (Redaction(drop_columns=("label",)), StageLogError),
        (Redaction(key=b"short"), DomainError),
    ],
)
def test_what_cannot_be_is_refused(
    run: RecordedRun, redaction: Redaction, error: type[AuditorError]
) -> None:
    with pytest.raises(error):
        redacted(run, redaction)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_packed_tensors_are_those_that_the_library_reads(dtype: torch.dtype) -> None:
    tensor = torch.arange(6).reshape(2, 3).to(dtype)
    codes = {torch.float32: "F32", torch.bfloat16: "BF16", torch.int64: "I64", torch.bool: "BOOL"}
    bits = tensor.view(torch.uint16) if dtype is torch.bfloat16 else tensor

    data = pack_tensors({
        "b": Packed(codes[dtype], bits.numpy()),
        "a": Packed("U8", np.zeros(3, np.uint8)),
    })

    read = read_tensors(data, where="packed")
    assert torch.equal(read["b"], tensor)
    assert read_tensors(write_tensors(read), where="again").keys() == read.keys()


def test_other_blobs_are_the_same(run: RecordedRun) -> None:
    log, blobs = redacted(replace(run), Redaction(sample=5))

    assert all(blobs.has(Digest(digest)) for digest in log.blobs())
    assert log.start == run.log.start
