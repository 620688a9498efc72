"""What is left of a recording that did not end, and what ``recover`` makes of it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from auditor.dynamics.consistency import check_segment
from auditor.dynamics.run import Run
from auditor.edge.folder import BLOBS_FOLDER, FolderBlobs, read_log, write_log
from auditor.edge.journal import JOURNAL_FILE, FolderJournal
from auditor.errors import ArtifactMissingError, ResourceError, StageLogError
from auditor.record.recorder import Recorder
from auditor.record.recover import recover
from auditor.record.sink import LogSink
from auditor.stagelog.content import check_content
from auditor.stagelog.digest import Digest
from auditor.stagelog.log import StageLog
from auditor.stagelog.schedule import read_schedule
from tests.support.builders import (
    FixedClock,
    export_once,
    make_columns,
    make_network,
    make_optimizer,
    train_step,
)
from tests.support.cases import quiet


class Cut(BaseException):
    """The end of a process, as far as the recorder can tell."""


def train(
    sink: Path | LogSink,
    *,
    stages: int = 2,
    steps: int = 9,
    cadence: int | None = 3,
    cut: tuple[int, int] | None = None,
    capture: bool = False,
) -> None:
    """Record stages; ``cut`` raises :class:`Cut` before a step (stage, step)."""
    network = make_network()
    recorder = Recorder(sink, network, run_name="cut", export=export_once, clock=FixedClock())
    generator = torch.Generator().manual_seed(3)
    columns = make_columns()
    data = None if capture else recorder.dataset("data", columns)
    for index in range(stages):
        optimizer = make_optimizer("adamw", network)
        with recorder.stage(
            f"stage{index}",
            optimizer=optimizer,
            loss="cross_entropy",
            inputs={"x": "x"},
            target="label",
            cadence_steps=cadence,
        ) as stage:
            for step in range(steps):
                if cut == (index, step):
                    raise Cut
                rows = torch.randperm(48, generator=generator)[:8]
                if data is None:
                    x, label = columns["x"], columns["label"]
                    stage.batch_tensors({"x": x[rows], "label": label[rows]})  # type: ignore[index]
                else:
                    stage.batch(data, rows)
                train_step(network, optimizer, columns, rows)


def recovered(folder: Path) -> StageLog:
    """Recover, and hold the log to everything that a complete one must be."""
    log = recover(folder).log
    again, digest, blobs = read_log(folder)
    assert again == log
    check_content(log, blobs)
    run = Run(log, digest, blobs)
    verdicts = [check_segment(run, i, on_block=quiet).verdict for i in range(len(log.stages))]
    assert verdicts == ["consistent"] * len(log.stages)
    return log


@pytest.mark.parametrize("step", [1, 4, 5, 8])
@pytest.mark.parametrize("stage", [0, 1])
@pytest.mark.parametrize("capture", [False, True])
def test_exception_in_the_loop_loses_no_step(
    tmp_path: Path, stage: int, step: int, capture: bool
) -> None:
    with pytest.raises(Cut):
        train(tmp_path, cut=(stage, step), capture=capture)

    log = recovered(tmp_path)

    assert log.stages[-1].name == f"stage{stage}"
    assert log.stages[-1].steps == step
    assert log.origin is not None
    assert log.origin.kind == "recovered"
    assert f"cut off after step {9 * stage + step - 1}" in log.origin.gaps[0]


def test_process_that_dies_keeps_what_led_to_the_last_checkpoint(tmp_path: Path) -> None:
    """A journal without its last lines is what a killed process leaves."""
    with pytest.raises(Cut):
        train(tmp_path, cut=(1, 8))
    lines = (tmp_path / JOURNAL_FILE).read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line).get("checkpoint", {}).get("step") != 17]
    (tmp_path / JOURNAL_FILE).write_bytes(b"".join(kept))

    result = recover(tmp_path)

    assert result.log.stages[-1].end_step == 9 + 6
    assert "2 recorded steps after it have no checkpoint" in result.gaps[0]
    assert result.kept_journal is not None
    assert result.kept_journal.read_bytes() == b"".join(kept)


@pytest.mark.parametrize("part", [0.2, 0.4, 0.6, 0.8, 0.95])
def test_journal_torn_anywhere_gives_a_valid_log(tmp_path: Path, part: float) -> None:
    with pytest.raises(Cut):
        train(tmp_path, cut=(1, 8))
    data = (tmp_path / JOURNAL_FILE).read_bytes()
    (tmp_path / JOURNAL_FILE).write_bytes(data[: int(part * len(data))])

    log = recovered(tmp_path)

    assert log.stages[0].steps == 9


def test_journal_with_zeroes_after_a_power_cut_counts_up_to_them(tmp_path: Path) -> None:
    with pytest.raises(Cut):
        train(tmp_path, cut=(1, 8))
    lines = (tmp_path / JOURNAL_FILE).read_bytes().splitlines(keepends=True)
    noted = [json.loads(line).get("checkpoint", {}).get("step") for line in lines]
    whole = lines[: noted.index(12) + 1]
    (tmp_path / JOURNAL_FILE).write_bytes(b"".join(whole) + b"\0" * 100 + b"\n")

    assert recovered(tmp_path).stages[1].end_step == 12


def test_checkpoint_whose_blob_is_damaged_is_not_used(tmp_path: Path) -> None:
    with pytest.raises(Cut):
        train(tmp_path, cut=(1, 7))
    lines = [json.loads(x) for x in (tmp_path / JOURNAL_FILE).read_text().splitlines()]
    last = next(x["checkpoint"] for x in lines if x.get("checkpoint", {}).get("step") == 16)
    path = FolderBlobs(tmp_path / BLOBS_FOLDER).path(last["parameters"])
    path.chmod(0o600)
    path.write_bytes(b"half")

    assert recovered(tmp_path).stages[1].end_step == 15


def test_stage_that_was_refused_is_not_brought_back(tmp_path: Path) -> None:
    network = make_network()
    recorder = Recorder(tmp_path, network, run_name="refused", export=export_once)
    columns = make_columns()
    data = recorder.dataset("data", columns)
    optimizer = make_optimizer("sgd", network)

    def stage(name: str, *, shift: int) -> None:
        with recorder.stage(
            name, optimizer=optimizer, loss="cross_entropy", inputs={"x": "x"}, target="label"
        ) as recording:
            for step in range(6):
                rows = torch.arange(8) + step
                recording.batch(data, rows + shift)
                train_step(network, optimizer, columns, rows)

    stage("honest", shift=0)
    with pytest.raises(StageLogError, match="Likely causes"):
        stage("wrong", shift=1)

    log = recovered(tmp_path)

    assert [s.name for s in log.stages] == ["honest"]
    assert log.origin is not None
    assert "refused when it closed" in log.origin.gaps[0]


def test_finished_recording_is_left_as_it_is(tmp_path: Path) -> None:
    train(tmp_path)
    _, digest, _ = read_log(tmp_path)

    result = recover(tmp_path)

    assert (result.digest, result.gaps, result.kept_journal) == (digest, (), None)
    assert not (tmp_path / JOURNAL_FILE).exists()


def test_later_stages_with_missing_blobs_are_left_out(tmp_path: Path) -> None:
    train(tmp_path)
    log, _, blobs = read_log(tmp_path)
    blobs.path(Digest(log.stages[1].checkpoints[-1].parameters)).unlink()

    shorter = recovered(tmp_path)

    assert [stage.name for stage in shorter.stages] == ["stage0"]
    assert shorter.origin is not None
    assert "'stage1'" in shorter.origin.gaps[0]


def test_folder_without_anything_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissingError):
        recover(tmp_path)


def test_cut_before_the_first_checkpoint_of_all_is_refused_with_the_way_out(tmp_path: Path) -> None:
    write = FolderJournal(tmp_path / JOURNAL_FILE)
    write.append({"format": "other"})
    write.close()

    with pytest.raises(ArtifactMissingError, match="cadence_steps"):
        recover(tmp_path)


def test_recording_into_a_folder_with_an_unfinished_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Cut):
        train(tmp_path, cut=(0, 5))

    with pytest.raises(StageLogError, match="log recover"):
        train(tmp_path)


class FullDisk:
    """A LogSink on a disk with so many bytes left for blobs and lines."""

    def __init__(self, folder: Path, *, free: int) -> None:
        self._folder, self.free = folder, free
        self.blobs = _FullBlobs(FolderBlobs(folder / BLOBS_FOLDER), self)

    def take(self, count: int) -> None:
        if count > self.free:
            raise ResourceError("disk", expected="space", found="none", remedy="Free some.")
        self.free -= count

    def write_manifest(self, log: StageLog) -> Digest:
        self.take(len(log.model_dump_json()))
        return write_log(self._folder, log)

    def journal(self) -> "_FullJournal":
        return _FullJournal(FolderJournal(self._folder / JOURNAL_FILE), self)


class _FullBlobs:
    def __init__(self, blobs: FolderBlobs, disk: FullDisk) -> None:
        self._blobs, self._disk = blobs, disk

    def has(self, digest: Digest) -> bool:
        return self._blobs.has(digest)

    def size(self, digest: Digest) -> int:
        return self._blobs.size(digest)

    def read(self, digest: Digest) -> memoryview:
        return self._blobs.read(digest)

    def write(self, data: bytes | bytearray | memoryview) -> Digest:
        self._disk.take(len(data))
        return self._blobs.write(data)


class _FullJournal:
    def __init__(self, journal: FolderJournal, disk: FullDisk) -> None:
        self._journal, self._disk = journal, disk

    def append(self, line: Mapping[str, Any]) -> None:
        self._disk.take(len(json.dumps(line)))
        self._journal.append(line)

    def sync(self) -> None:
        self._journal.sync()

    def close(self) -> None:
        self._journal.close()

    def discard(self) -> None:
        self._journal.discard()


@contextmanager
def full_disk(folder: Path, *, free: int) -> Iterator[None]:
    with pytest.raises(ResourceError):
        train(FullDisk(folder, free=free))
    yield


def needed(folder: Path) -> int:
    disk = FullDisk(folder, free=10**9)
    train(disk)
    return 10**9 - disk.free


@pytest.mark.parametrize("part", [0.3, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97])
def test_full_disk_is_told_and_leaves_a_log_of_all_that_was_accepted(
    tmp_path: Path, part: float
) -> None:
    free = int(part * needed(tmp_path / "whole"))
    folder = tmp_path / "full"
    with full_disk(folder, free=free):
        accepted = read_log(folder)[0].stages if (folder / "stagelog.json").exists() else ()

    log = recovered(folder)

    assert log.stages[: len(accepted)] == accepted
    assert len(log.stages) >= max(1, len(accepted))


def test_denominators_and_skipped_steps_are_in_the_recovered_stage(tmp_path: Path) -> None:
    network = make_network()
    recorder = Recorder(tmp_path, network, run_name="facts", export=export_once)
    columns = make_columns()
    data = recorder.dataset("data", columns)
    optimizer = make_optimizer("sgd", network)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)

    def loop() -> None:
        with recorder.stage(
            "facts", optimizer=optimizer, loss="cross_entropy", inputs={"x": "x"}, target="label",
            scaler=scaler,
        ) as stage:  # fmt: skip
            for step in range(6):
                rows = torch.arange(8) + step
                stage.batch(data, rows)
                if step == 2:
                    stage.skip_step()
                    continue
                stage.denominator(8.0)
                train_step(network, optimizer, columns, rows)
            raise Cut

    with pytest.raises(Cut):
        loop()

    (facts,) = recovered(tmp_path).stages
    assert (facts.steps, facts.skipped, facts.loss_denominator) == (5, (2,), "recorded")
    assert facts.loss_scale == "recorded"
    schedule = FolderBlobs(tmp_path / BLOBS_FOLDER).read(Digest(str(facts.schedule)))
    assert (read_schedule(schedule, where="schedule").columns["loss_scale"] == 4.0).all()
