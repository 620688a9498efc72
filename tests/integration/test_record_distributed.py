"""Two processes that train together; truth is the same training in one process, by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from auditor.edge.folder import BLOBS_FOLDER, FolderBlobs, read_log
from auditor.model.tensors import read_tensors
from auditor.stagelog.batches import read_batches
from auditor.stagelog.digest import parse_digest
from tests.support.adapter_runs import replay_verdicts, retrained_without
from tests.support.hf_folders import bert
from tests.support.ranks import (
    STAGES,
    classifier_columns,
    columns,
    network,
    rows_of,
    train_together,
)


@pytest.fixture(scope="module")
def ddp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the log that two processes recorded."""
    folder = tmp_path_factory.mktemp("ddp")
    assert train_together("ddp", folder) == ["", ""]
    return folder / "log"


def train_by_hand(stages: tuple[int, ...]) -> torch.nn.Module:
    """Train as DistributedDataParallel does: the mean of the two ranks' means."""
    model = network("plain")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for stage in stages:
        own = columns(stage)
        for both in zip(rows_of(stage, 0), rows_of(stage, 1), strict=True):
            optimizer.zero_grad()
            means = [functional.cross_entropy(model(own["x"][r]), own["label"][r]) for r in both]
            (sum(means) / 2).backward()
            optimizer.step()
    return model


def test_ranks_of_unequal_lengths_are_audited_as_one_training(ddp: Path) -> None:
    log, _, _ = read_log(ddp)
    blobs = FolderBlobs(ddp / BLOBS_FOLDER)
    truth = train_by_hand((0, 1))
    last = log.stages[-1].checkpoints[-1].parameters
    state = read_tensors(blobs.read(parse_digest(last, where="")), where="")
    for name, values in truth.state_dict().items():
        torch.testing.assert_close(state[name], values, rtol=1e-12, atol=1e-14)
    held_out = columns(9)
    report = retrained_without(log, blobs, stages=["first"], held_out=held_out, target="label")
    without = train_by_hand((1,))
    with torch.no_grad():
        effect = [
            functional.cross_entropy(m(held_out["x"]), held_out["label"]).item()
            for m in (truth, without)
        ]
    assert report.effects[0].value == pytest.approx(effect[0] - effect[1], rel=1e-7)
    assert replay_verdicts(log, blobs) == ["consistent", "consistent"]


def test_weights_say_how_much_the_examples_of_each_rank_counted(ddp: Path) -> None:
    log, _, _ = read_log(ddp)
    blobs = FolderBlobs(ddp / BLOBS_FOLDER)
    batches = read_batches(blobs.read(log.stages[0].batches), where="")

    assert [[len(row.indices) for row in batches.rows(k)] for k in range(3)] == [
        [5, 3], [1, 4], [4, 4],
    ]  # fmt: skip
    # Half of the loss belongs to each rank: 1 / (2 n_r), written as w / n.
    np.testing.assert_allclose(batches.rows(0)[0].weights, 8 / (2 * 5))
    np.testing.assert_allclose(batches.rows(0)[1].weights, 8 / (2 * 3))
    assert [row.weights for row in batches.rows(2)] == [None, None]


@pytest.mark.parametrize("world", [1, 2])
def test_accelerate_accumulates_in_every_process(tmp_path: Path, world: int) -> None:
    assert train_together("accelerate", tmp_path, world=world) == [""] * world

    log, _, _ = read_log(tmp_path / "log")

    assert [stage.name for stage in log.stages] == list(STAGES)
    assert [stage.accumulation for stage in log.stages] == [2 * world, 2 * world]
    assert replay_verdicts(log, FolderBlobs(tmp_path / "log" / BLOBS_FOLDER)) == ["consistent"] * 2


def test_the_hugging_face_trainer_is_audited_as_one_training(tmp_path: Path) -> None:
    assert train_together("trainer classifier", tmp_path) == ["", ""]
    alone = tmp_path / "alone"
    alone.mkdir()
    assert train_together("trainer classifier skipped", alone) == ["", ""]
    log, _, _ = read_log(tmp_path / "log")
    blobs = FolderBlobs(tmp_path / "log" / BLOBS_FOLDER)
    held_out = classifier_columns(9)

    report = retrained_without(log, blobs, stages=["first"], held_out=held_out, target="labels")

    truth = classifier_loss(tmp_path / "log", held_out) - classifier_loss(alone / "log", held_out)
    assert report.effects[0].value == pytest.approx(truth, rel=1e-3)
    assert replay_verdicts(log, blobs) == ["consistent", "consistent"]
    # 21 texts in microbatches of 3 for two ranks: 4 each, in steps of 2.
    assert [(stage.accumulation, stage.steps) for stage in log.stages] == [(4, 4), (4, 4)]


def classifier_loss(folder: Path, held_out: dict[str, torch.Tensor]) -> float:
    """Return the mean loss of the model at the end of a recorded run, by the library."""
    log, _, _ = read_log(folder)
    last = parse_digest(log.stages[-1].checkpoints[-1].parameters, where="")
    state = read_tensors(FolderBlobs(folder / BLOBS_FOLDER).read(last), where="")
    model = bert().eval()
    model.load_state_dict(state, strict=False)
    with torch.no_grad():
        return float(model(**held_out).loss)


def test_tokens_are_counted_over_all_processes(tmp_path: Path) -> None:
    assert train_together("trainer language", tmp_path) == ["", ""]

    log, _, _ = read_log(tmp_path / "log")

    assert [stage.accumulated for stage in log.stages] == ["step", "step"]
    assert replay_verdicts(log, FolderBlobs(tmp_path / "log" / BLOBS_FOLDER)) == ["consistent"] * 2


def test_means_of_each_process_are_refused_where_counts_differ(tmp_path: Path) -> None:
    ended = train_together("trainer language unequal", tmp_path)

    assert ["average_tokens_across_devices" in message for message in ended] == [True, True]


def test_lightning_is_recorded_in_every_process(tmp_path: Path) -> None:
    assert train_together("lightning", tmp_path) == ["", ""]

    log, _, _ = read_log(tmp_path / "log")

    assert [stage.accumulation for stage in log.stages] == [2, 4]
    assert replay_verdicts(log, FolderBlobs(tmp_path / "log" / BLOBS_FOLDER)) == ["consistent"] * 2


def test_batch_norm_of_each_rank_is_refused_in_every_process(tmp_path: Path) -> None:
    ended = train_together("norm", tmp_path)

    assert ["no batch norm in train mode" in message for message in ended] == [True, True]


def test_every_process_hears_that_the_self_check_failed(tmp_path: Path) -> None:
    ended = train_together("wrong", tmp_path)

    assert "relative deviation" in ended[0]
    assert "a stage that rank 0 recorded, found stage 'first'" in ended[1]
