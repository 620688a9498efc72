"""Closing a stage replays its first steps: what the log does not say is found there and then."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from auditor.errors import StageLogError, UnsupportedError
from auditor.record.recorder import Recorder
from auditor.stagelog.log import Clipping, Loss
from tests.support.builders import MemorySink, export_once, make_columns, make_network

Step = Callable[[nn.Module, torch.optim.Optimizer, Tensor, Tensor], None]


def record(step: Step, *, model: nn.Module | None = None, **declared: Any) -> Recorder:
    """Record six steps of a loop, declared as plain cross entropy unless said otherwise."""
    network = model or make_network()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    recorder = Recorder(MemorySink.new(), network, run_name="r", export=export_once)
    columns = make_columns()
    data = recorder.dataset("train", columns)
    x, label = columns["x"], columns["label"]
    assert isinstance(x, Tensor)
    assert isinstance(label, Tensor)
    options = {"loss": "cross_entropy", "inputs": {"x": "x"}, "target": "label"} | declared
    with recorder.stage("only", optimizer=optimizer, **options) as stage:
        for k in range(6):
            indices = torch.arange(8 * k, 8 * k + 8)
            stage.batch(data, indices)
            optimizer.zero_grad()
            step(network, optimizer, x[indices], label[indices])
    return recorder


def plain(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, label: Tensor) -> None:
    functional.cross_entropy(model(x), label).backward()
    optimizer.step()


def summed(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, label: Tensor) -> None:
    functional.cross_entropy(model(x), label, reduction="sum").backward()
    optimizer.step()


def smoothed(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, label: Tensor) -> None:
    functional.cross_entropy(model(x), label, label_smoothing=0.1).backward()
    optimizer.step()


def augmented(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, label: Tensor) -> None:
    functional.cross_entropy(model(x + 1e-3), label).backward()
    optimizer.step()


def clipped(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, label: Tensor) -> None:
    functional.cross_entropy(model(x), label).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    optimizer.step()


def regularised(
    model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, label: Tensor
) -> None:
    penalty = sum(p.abs().sum() for p in model.parameters())
    (functional.cross_entropy(model(x), label) + 1e-3 * penalty).backward()
    optimizer.step()


def other_rows(
    model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, label: Tensor
) -> None:
    functional.cross_entropy(model(x[1:]), label[1:]).backward()
    optimizer.step()


def moved_by_hand(
    model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, label: Tensor
) -> None:
    plain(model, optimizer, x, label)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 - 1e-4)


def test_loop_that_is_as_declared_is_accepted() -> None:
    assert record(plain).log.stages[0].steps == 6
    assert record(summed, loss=Loss(kind="cross_entropy", reduction="sum")).log.level == 2
    assert record(smoothed, loss=Loss(kind="cross_entropy", label_smoothing=0.1)).log.level == 2


@pytest.mark.parametrize(
    "step", [summed, smoothed, augmented, clipped, regularised, other_rows, moved_by_hand]
)
def test_loop_that_does_something_else_is_refused(step: Step) -> None:
    with pytest.raises(StageLogError, match="Likely causes") as caught:
        record(step)

    assert "relative deviation" in caught.value.found


def test_self_check_can_be_turned_off() -> None:
    assert record(augmented, self_check="off").log.stages[0].steps == 6


def test_undeclared_accumulation_is_refused() -> None:
    def twice(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
        functional.cross_entropy(model(x), y).backward()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    with pytest.raises(StageLogError, match="accumulation other than 1"):
        record(twice)


class Functional(nn.Module):
    """Drops units by a function, which no module shows."""

    def __init__(self) -> None:
        super().__init__()
        self.body = make_network()

    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(self.body(x), 0.5, training=self.training)


def test_dropout_by_a_function_is_found() -> None:
    with pytest.raises(StageLogError, match="functional dropout"):
        record(plain, model=Functional())


def test_dropout_module_is_refused_at_the_first_forward_pass() -> None:
    network = nn.Sequential(make_network(), nn.Dropout(0.1))

    with pytest.raises(UnsupportedError, match=r"rates \(0\.1,\)"):
        record(plain, model=network)


def test_dropout_in_evaluation_mode_is_no_dropout() -> None:
    network = nn.Sequential(make_network(), nn.Dropout(0.1)).eval()

    assert record(plain, model=network).log.graphs["model"].dropout == ()


def test_clipping_passes_where_it_is_declared_as_it_was_done() -> None:
    log = record(clipped, clipping=Clipping(kind="norm", limit=0.1)).log

    assert log.stages[0].clipping == Clipping(kind="norm", limit=0.1)
    with pytest.raises(StageLogError, match="relative deviation"):
        record(clipped, clipping=Clipping(kind="norm", limit=0.2))


def test_facts_of_an_unchecked_stage_are_recorded_all_the_same() -> None:
    network = nn.Sequential(make_network(), nn.Dropout(0.1))

    log = record(plain, model=network, self_check="off", augmentation="not_recorded").log

    assert log.graphs["model"].dropout == (0.1,)
    assert log.stages[0].stochastic.dropout == "not_recorded"
    assert log.stages[0].stochastic.augmentation == "not_recorded"
