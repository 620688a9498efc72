"""Blobs against the manifest: each defect is found, and named by its path."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from auditor.errors import (
    ArtifactDigestError,
    ArtifactMissingError,
    AuditorError,
    DomainError,
    NumericalError,
    StageLogError,
)
from auditor.stagelog.batches import BatchRow
from auditor.stagelog.content import check_content, check_evaluation_content
from auditor.stagelog.digest import Digest
from auditor.stagelog.evaluation import parse_evaluation_set
from tests.support.builders import RecordedRun, make_stage_log
from tests.support.forgery import (
    with_checkpoint,
    with_columns,
    with_rows,
    with_shard,
    with_stage,
)
from tests.support.memory_blobs import MemoryBlobs

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def run() -> RecordedRun:
    return make_stage_log(stages=2, optimizer="adam", transition="keep")


@pytest.fixture(scope="module")
def momentum() -> RecordedRun:
    return make_stage_log(stages=2, optimizer="momentum")


def refusal(run: RecordedRun) -> AuditorError:
    with pytest.raises(AuditorError) as caught:
        check_content(run.log, run.blobs)
    return caught.value


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adam", "adamw"])
@pytest.mark.parametrize("transition", ["reset", "keep"])
def test_recorded_log_is_accepted(optimizer: Any, transition: Any) -> None:
    recorded = make_stage_log(stages=2, optimizer=optimizer, transition=transition)

    check_content(recorded.log, recorded.blobs)


def entry(name: str, step: int, to: float) -> Change:
    def change(columns: dict[str, np.ndarray]) -> None:
        columns[name][step, 0] = to

    return change


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", -1e-3), ("lr", np.nan), ("lr", np.inf), ("weight_decay", -1.0), ("beta1", 1.0),
        ("beta2", -0.1), ("eps", 0.0),
    ],
)  # fmt: skip
def test_hyperparameter_outside_its_domain_is_refused(
    run: RecordedRun, name: str, value: float
) -> None:
    error = refusal(with_columns(run, 1, entry(name, 3, value)))

    assert isinstance(error, DomainError)
    assert error.where == f"stages[1].schedule.steps[9].groups[0].{name}"


def test_momentum_turned_off_within_a_stage_is_refused(momentum: RecordedRun) -> None:
    error = refusal(with_columns(momentum, 0, entry("momentum", 2, 0.0)))

    assert error.where == "stages[0].schedule.steps[2].groups[0].momentum"


def test_nesterov_with_dampening_is_refused() -> None:
    nesterov = make_stage_log(stages=1, optimizer="nesterov")

    error = refusal(with_columns(nesterov, 0, entry("dampening", 0, 0.1)))

    assert error.where == "stages[0].schedule.groups[0]"


def drop(name: str) -> Change:
    def change(items: dict[str, Any]) -> None:
        del items[name]

    return change


def cut(columns: dict[str, np.ndarray]) -> None:
    for name in columns:
        columns[name] = columns[name][:-1]


def widen(columns: dict[str, np.ndarray]) -> None:
    for name, values in columns.items():
        columns[name] = np.repeat(values, 2, axis=1)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (cut, "stages[0].schedule"),
        (widen, "stages[0].schedule"),
        (drop("eps"), "stages[0].schedule.eps"),
    ],
)
def test_schedule_of_another_stage_is_refused(run: RecordedRun, change: Change, where: str) -> None:
    assert refusal(with_columns(run, 0, change)).where == where


def changed_row(step: int, **changes: Any) -> Callable[[list[list[BatchRow]]], None]:
    def change(rows: list[list[BatchRow]]) -> None:
        rows[step][0] = replace(rows[step][0], **changes)

    return change


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (changed_row(2, indices=np.array([48] * 8)), "stages[0].batches.steps[2]"),
        (changed_row(2, dataset="data1"), "stages[0].batches.steps[2]"),
        (changed_row(2, microbatch=1), "stages[0].batches.steps[2]"),
        (changed_row(2, indices=np.arange(9)), "stages[0].examples_per_step"),
        (lambda rows: rows.pop(), "stages[0].batches"),
    ],
)
def test_batches_that_do_not_fit_are_refused(
    run: RecordedRun, change: Callable[[list[list[BatchRow]]], None], where: str
) -> None:
    assert refusal(with_rows(run, 0, change)).where == where


def set_to(name: str, value: Tensor) -> Change:
    return lambda tensors: tensors.update({name: value})


W = "0.weight"
CHECKPOINT_DEFECTS: list[tuple[str, Change, str]] = [
    ("parameters", drop(W), "parameters"),
    ("parameters", set_to("more", torch.ones(1)), "parameters"),
    ("parameters", set_to(W, torch.ones(4, 5).double()), "parameters[0.weight]"),
    ("parameters", set_to(W, torch.ones(5, 4)), "parameters[0.weight]"),
    ("parameters", set_to(W, torch.full((5, 4), torch.nan).double()), "parameters[0.weight]"),
    ("optimizer", drop("exp_avg/" + W), "optimizer"),
    ("optimizer", set_to("count/" + W, torch.ones(1).double()), "optimizer[count/0.weight]"),
    ("optimizer", set_to("count/" + W, -torch.ones(()).double()), "optimizer[count/0.weight]"),
    ("optimizer", set_to("momentum_buffer/" + W, torch.ones(5, 4).double()), "optimizer"),
    ("optimizer", set_to("exp_avg/other", torch.ones(1).double()), "optimizer"),
    ("optimizer", set_to("nonsense", torch.ones(1).double()), "optimizer"),
    ("optimizer", lambda tensors: tensors.clear(), "optimizer"),
]


@pytest.mark.parametrize(("part", "change", "where"), CHECKPOINT_DEFECTS)
def test_checkpoint_of_another_model_is_refused(
    run: RecordedRun, part: str, change: Change, where: str
) -> None:
    error = refusal(with_checkpoint(run, 0, 1, change, part=part))

    assert error.where == f"stages[0].checkpoints[1].{where}"


def test_momentum_buffer_without_its_flag_is_refused(momentum: RecordedRun) -> None:
    change = drop("initialised/0.bias")

    error = refusal(with_checkpoint(momentum, 0, 1, change, part="optimizer"))

    assert error.where == "stages[0].checkpoints[1].optimizer"


DATA_DEFECTS: list[tuple[Change, type[AuditorError], str]] = [
    (drop("x"), StageLogError, ""),
    (set_to("more", torch.ones(48)), StageLogError, ""),
    (set_to("x", torch.ones(47, 4).double()), StageLogError, ".x"),
    (set_to("x", torch.ones(48, 4)), StageLogError, ".x"),
    (set_to("x", torch.full((48, 4), torch.inf).double()), NumericalError, ".x"),
    (set_to("source", torch.full((48,), 2, dtype=torch.int32)), StageLogError, ".source"),
    (set_to("source", torch.full((48,), -1, dtype=torch.int32)), StageLogError, ".source"),
    (set_to("label", torch.full((48,), 3)), StageLogError, ".label[0]"),
]


@pytest.mark.parametrize(("change", "kind", "where"), DATA_DEFECTS)
def test_shard_that_differs_from_its_description_is_refused(
    run: RecordedRun, change: Change, kind: type[AuditorError], where: str
) -> None:
    error = refusal(with_shard(run, "data1", change))

    assert isinstance(error, kind)
    assert error.where == f'datasets["data1"].shards[0]{where}'


def test_ignored_class_is_accepted(run: RecordedRun) -> None:
    ignoring = with_shard(run, "data0", set_to("label", torch.full((48,), -100)))
    loss = ignoring.log.stages[0].loss.model_copy(update={"ignore_index": -100})

    check_content(with_stage(ignoring, 0, loss=loss).log, run.blobs)


def test_missing_and_damaged_blobs_are_told_apart() -> None:
    recorded = make_stage_log(stages=1)
    assert isinstance(recorded.blobs, MemoryBlobs)
    digest = Digest(recorded.log.start.parameters)

    recorded.blobs.stored[digest] += b"\x00"
    assert isinstance(refusal(recorded), ArtifactDigestError)

    del recorded.blobs.stored[digest]
    assert isinstance(refusal(recorded), ArtifactMissingError)


def test_evaluation_set_is_checked_like_a_dataset(run: RecordedRun) -> None:
    evaluation = parse_evaluation_set(run.blobs.read(run.evaluation))

    check_evaluation_content(evaluation, run.blobs)

    shards = tuple(s.model_copy(update={"count": 23}) for s in evaluation.dataset.shards)
    wrong = evaluation.dataset.model_copy(update={"shards": shards})
    with pytest.raises(StageLogError, match="shards"):
        check_evaluation_content(evaluation.model_copy(update={"dataset": wrong}), run.blobs)


@pytest.mark.parametrize("found", [None, np.nan])
def test_a_scaler_needs_its_scale_for_every_step(run: RecordedRun, found: float | None) -> None:
    def change(columns: dict[str, np.ndarray]) -> None:
        if found is not None:
            columns["loss_scale"] = np.full_like(columns["lr"], 1024.0)
            columns["loss_scale"][1] = found

    scaled = with_stage(run, 0, loss_scale="recorded")

    assert "schedule.loss_scale" in refusal(with_columns(scaled, 0, change)).where
