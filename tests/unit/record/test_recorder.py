"""What a recorder refuses before anything is trained."""

from typing import Any

import pytest
import torch

from auditor.errors import AuditorError, StageLogError
from auditor.record.recorder import Recorder
from tests.support.builders import MemorySink, export_once, make_columns, make_network


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"kind": "holiday"},
        {"target": ""},
        {"output": -1},
        {"inputs": {"": "x"}},
    ],
    ids=str,
)
def test_declaration_that_a_log_cannot_hold_is_our_error(changes: dict[str, Any]) -> None:
    network = make_network()
    recorder = Recorder(MemorySink.new(), network, run_name="r", export=export_once)
    declared: dict[str, Any] = {
        "name": "s",
        "optimizer": torch.optim.SGD(network.parameters()),
        "loss": "cross_entropy",
        "inputs": {"x": "x"},
        "target": "label",
    } | changes

    with pytest.raises(StageLogError):
        recorder.stage(declared.pop("name"), **declared).__enter__()


def test_run_without_a_name_is_our_error() -> None:
    with pytest.raises(StageLogError, match="name"):
        Recorder(MemorySink.new(), make_network(), run_name="")


def test_dataset_is_recorded_once() -> None:
    recorder = Recorder(MemorySink.new(), make_network(), run_name="r")
    recorder.dataset("train", make_columns())

    with pytest.raises(StageLogError, match="a second dataset"):
        recorder.dataset("train", make_columns())


def test_log_without_a_stage_is_our_error() -> None:
    recorder = Recorder(MemorySink.new(), make_network(), run_name="r")

    with pytest.raises(AuditorError, match="a finished stage"):
        _ = recorder.log
