"""Which declared batches a gradient scaler refused, seen from outside of it."""

from dataclasses import dataclass

import torch
from torch import nn

from auditor.record.scaler import ScalerWatch


@dataclass
class Scale:
    """A scaler whose scale the test sets."""

    value: float
    enabled: bool = True

    def is_enabled(self) -> bool:
        return self.enabled

    def get_scale(self) -> float:
        return self.value


def test_a_fallen_scale_is_a_refused_step() -> None:
    scaler = Scale(8.0)
    watch = ScalerWatch(scaler=scaler)
    watch.batch_declared()

    assert not watch.has_refused()
    scaler.value = 16.0  # it grew after a step
    assert not watch.has_refused()
    scaler.value = 4.0
    assert watch.has_refused()
    watch.batch_declared()
    assert not watch.has_refused()


def test_nothing_is_scaled_without_a_scaler_or_by_one_that_is_turned_off() -> None:
    for scaler in (None, Scale(8.0, enabled=False), torch.amp.GradScaler("cpu", enabled=False)):
        watch = ScalerWatch(scaler=scaler)
        watch.batch_declared()
        assert watch.scale is None
        assert not watch.has_refused()


def test_the_scale_of_torch() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30)
    watch = ScalerWatch(scaler=scaler)
    watch.batch_declared()
    layer = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)

    scaler.scale(layer(torch.full((1, 2), 1e30)).sum()).backward()
    scaler.step(optimizer)
    scaler.update()

    assert watch.has_refused()
    assert watch.scale == 2.0**29
