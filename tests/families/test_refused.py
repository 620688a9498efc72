"""What no replay can follow is refused at the first forward pass, with what to do instead."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from auditor.errors import UnsupportedError
from auditor.record.recorder import Recorder
from tests.support.builders import FixedClock, MemorySink


def train(model: nn.Module) -> None:
    """Record one step."""
    x, label = torch.randn(8, 5), torch.arange(8) % 3
    recorder = Recorder(MemorySink.new(), model, run_name="refused", clock=FixedClock())
    data = recorder.dataset("data", {"x": x, "label": label})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with recorder.stage(
        "s", optimizer=optimizer, loss="cross_entropy", inputs={"x": "x"}, target="label"
    ) as stage:
        stage.batch(data, torch.arange(8))
        cross_entropy(model(x), label).backward()
        optimizer.step()


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (nn.Sequential(nn.BatchNorm1d(5, momentum=None), nn.Linear(5, 3)), "Give it a momentum"),
        (nn.Sequential(nn.Linear(5, 3), nn.Dropout(0.1)), "with_recorded_dropout"),
    ],
    ids=["cumulative average", "dropout"],
)
def test_model_that_no_replay_can_follow_is_refused_at_once(model: nn.Module, found: str) -> None:
    with pytest.raises(UnsupportedError, match=found):
        train(model)
