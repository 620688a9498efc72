"""Columns are converted to what a stage takes, without loss, or refused."""

from typing import Any

import numpy as np
import pytest
import torch

from auditor.errors import InputError
from auditor.record.evalset import describe_column
from auditor.record.fitted_columns import StageColumns, converted, fitted, stage_columns
from auditor.stagelog.dataset import Column
from auditor.stagelog.log import Bindings
from tests.support.manifests import make_dataset, make_log, make_stage


def target(*, columns: dict[str, Column] | None = None, label: str = "label") -> StageColumns:
    stage = make_stage(
        0,
        bindings=Bindings(inputs={"x": "image"}, target=label),
        **({} if columns else {"datasets": ()}),
    )
    datasets = {"train": make_dataset(columns=columns)} if columns else {}
    return stage_columns(make_log(stage, datasets=datasets), None)


TRAINED = {
    "image": Column(dtype="float32", shape=(4,)),
    "label": Column(dtype="int32", categories=("good", "bad")),
}


def test_a_stage_reads_what_it_was_trained_on_or_what_its_graph_says() -> None:
    trained, graph = target(columns=TRAINED), target()

    assert trained.inputs == {"image": TRAINED["image"]}
    assert trained.classes == {"good": 0, "bad": 1}
    assert graph.inputs == {"image": Column(dtype="float32", shape=(4,))}
    assert (graph.target, graph.classes, graph.tokens) == (None, None, None)


def test_tokens_are_those_of_an_input_of_numbers_of_tokens() -> None:
    tokens = {**TRAINED, "image": Column(dtype="int64", shape=(12,))}

    assert target(columns=tokens).tokens == 12


def test_classes_take_the_order_of_the_training_data() -> None:
    for given in (["bad", "good"], np.asarray([1, 0])):
        found = fitted(
            {"image": np.zeros((2, 4)), "label": given},
            target(columns=TRAINED),
            label="label",
            where="set",
        )
        codes, column = describe_column("label", found["label"])
        assert (codes.tolist(), column.categories) == ([1, 0], ("good", "bad"))
        assert describe_column("image", found["image"])[1].dtype == "float32"


def test_the_target_may_have_another_name() -> None:
    named = {**TRAINED, "labels": Column(dtype="int64")}
    found = fitted(
        {"image": np.zeros((2, 4)), "label": np.asarray([1, 0])},
        target(columns=named, label="labels"),
        label="label",
        where="set",
    )

    assert describe_column("labels", found["labels"])[0].tolist() == [1, 0]
    assert "label" in found


def test_a_missing_input_names_the_columns_that_are_there() -> None:
    with pytest.raises(InputError, match="'image'") as refused:
        fitted({"x": np.zeros((2, 4))}, target(columns=TRAINED), label=None, where="set")
    assert refused.value.found == "x"


@pytest.mark.parametrize(
    ("values", "like"),
    [
        (np.zeros((2, 3)), Column(dtype="float32", shape=(4,))),
        (np.asarray([300]), Column(dtype="uint8")),
        (np.asarray([0.5]), Column(dtype="int64")),
        (["a"], Column(dtype="int64")),
        (["other"], Column(dtype="int32", categories=("good",))),
        (np.asarray([1]), Column(dtype="int32", categories=("good",))),
        (np.asarray([0.0]), Column(dtype="int32", categories=("good",))),
    ],
)
def test_what_would_change_is_refused(values: Any, like: Column) -> None:
    with pytest.raises(InputError, match="as in the training data"):
        converted(values, like, where="set: column")


def test_values_that_fit_are_converted() -> None:
    narrow = converted(np.asarray([3, 4]), Column(dtype="uint8"), where="c")
    wide = converted(torch.tensor([0.1]), Column(dtype="float64"), where="c")
    whole = converted(torch.tensor([2.0]), Column(dtype="int64"), where="c")

    assert describe_column("c", narrow)[1].dtype == "uint8"
    assert describe_column("c", wide)[1].dtype == "float64"
    assert describe_column("c", whole)[0].tolist() == [2]


def test_a_stage_is_named_or_the_last() -> None:
    log = make_log()

    assert stage_columns(log, None).stage.name == "stage2"
    assert stage_columns(log, "stage1").stage.name == "stage1"
    with pytest.raises(InputError, match="stage0, stage1, stage2"):
        stage_columns(log, "other")
