"""Which averages of the weights a stage may release."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import (
    AveragedModel,
    get_ema_avg_fn,
    get_ema_multi_avg_fn,
    get_swa_avg_fn,
    get_swa_multi_avg_fn,
)

from auditor.errors import UnsupportedError
from auditor.record.average import refuse_equal
from auditor.record.recorder import Recorder
from tests.support.builders import FixedClock, MemorySink


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"avg_fn": get_swa_avg_fn()},  # type: ignore[no-untyped-call]
        {"multi_avg_fn": get_swa_multi_avg_fn()},  # type: ignore[no-untyped-call]
    ],
    ids=["default", "one by one", "together"],
)
def test_equal_weights_are_refused_when_the_stage_begins(options: dict[str, Any]) -> None:
    model = nn.Linear(2, 1)
    recorder = Recorder(MemorySink.new(), model, run_name="average", clock=FixedClock())
    stage = recorder.stage(
        "s", optimizer=torch.optim.SGD(model.parameters(), lr=0.1), loss="mse",
        inputs={"x": "x"}, target="y", ema=AveragedModel(model, **options), ema_decay=0.9,
    )  # fmt: skip

    with pytest.raises(UnsupportedError, match=r"equal weights .SWA.*get_ema_multi_avg_fn"), stage:
        pass


def test_exponential_ones_and_modules_of_ones_own_are_taken() -> None:
    model = nn.Linear(2, 1)

    refuse_equal(None, stage="s")
    refuse_equal(nn.Linear(2, 1), stage="s")
    together: Any = get_ema_multi_avg_fn(0.9)  # type: ignore[no-untyped-call]
    one: Any = get_ema_avg_fn(0.9)  # type: ignore[no-untyped-call]
    refuse_equal(AveragedModel(model, multi_avg_fn=together), stage="s")
    refuse_equal(AveragedModel(model, avg_fn=one), stage="s")
