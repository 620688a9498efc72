"""The size of a log is known before the training: within 10 % of what is written."""

from pathlib import Path

import pytest
import torch
from torch import nn

from auditor.record.estimate import example_bytes, state_size
from auditor.record.recorder import Recorder
from auditor.stagelog.size import StagePlan, StateSize, estimate_size
from tests.support.builders import export_once

EXAMPLES = 600


def network(width: int = 48) -> nn.Module:
    return nn.Sequential(
        nn.Linear(16, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 4)
    )


def record(folder: Path, *, optimizer: str, steps: int, cadence: int | None) -> int:
    """Record two stages and return the bytes of the folder."""
    model = network()
    generator = torch.Generator().manual_seed(0)
    columns = columns_of(generator)
    recorder = Recorder(folder, model, run_name="size", export=export_once)
    data = recorder.dataset("data", columns)
    for name in ("one", "two"):
        own: torch.optim.Optimizer
        if optimizer == "adamw":
            own = torch.optim.AdamW(model.parameters(), lr=1e-3)
        else:
            momentum = 0.9 if optimizer == "momentum" else 0.0
            own = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=momentum)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(own, steps)
        with recorder.stage(
            name, optimizer=own, loss="cross_entropy", inputs={"input": "x"}, target="label",
            cadence_steps=cadence, self_check="off",
        ) as stage:  # fmt: skip
            for _ in range(steps):
                rows = torch.randperm(EXAMPLES, generator=generator)[:32]
                stage.batch(data, rows)
                own.zero_grad()
                nn.functional.cross_entropy(
                    model(columns["x"][rows]), columns["label"][rows]
                ).backward()
                own.step()
                schedule.step()
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def columns_of(generator: torch.Generator) -> dict[str, torch.Tensor]:
    return {
        "x": torch.randn(EXAMPLES, 16, generator=generator),
        "label": torch.randint(4, (EXAMPLES,), generator=generator),
    }


@pytest.mark.parametrize(
    ("optimizer", "steps", "cadence"),
    [("adamw", 120, 40), ("momentum", 60, None), ("sgd", 400, None), ("adamw", 3, None)],
)
def test_prediction_is_within_ten_percent(
    tmp_path: Path, optimizer: str, steps: int, cadence: int | None
) -> None:
    row = example_bytes(columns_of(torch.Generator()))
    plans = [
        StagePlan(
            steps=steps, examples_per_step=32, optimizer=optimizer, examples=EXAMPLES,
            example_bytes=own, cadence_steps=cadence,
        )
        for own in (row, 0)
    ]  # fmt: skip

    predicted = estimate_size(state_size(network()), plans).log_bytes

    real = record(tmp_path, optimizer=optimizer, steps=steps, cadence=cadence)
    assert predicted == pytest.approx(real, rel=0.1)


def test_long_stage_is_extended_linearly() -> None:
    state = StateSize(tensors=1, state_bytes=4, trained_bytes=4, trained_tensors=1)

    def steps_bytes(steps: int) -> int:
        plan = StagePlan(
            steps=steps, examples_per_step=100, optimizer="sgd", examples=50_000, example_bytes=0
        )
        return estimate_size(state, [plan]).step_bytes

    # 4,000 steps are simulated, 8,000 extended.
    assert steps_bytes(8_000) == pytest.approx(2 * steps_bytes(4_000), rel=0.25)


def test_hours_follow_from_the_time_of_a_step() -> None:
    state = StateSize(tensors=2, state_bytes=800, trained_bytes=400, trained_tensors=1)
    plan = StagePlan(steps=50, examples_per_step=2, optimizer="adam", examples=9, example_bytes=8)

    timed = estimate_size(state, [plan], seconds_per_step=0.5)

    assert (timed.training_seconds, timed.check_seconds) == (25.0, 50.0)
    assert estimate_size(state, [plan]).check_seconds is None
    assert timed.memory_bytes >= 5 * (800 + 2 * 400)


def test_tied_and_frozen_parameters_are_counted_as_recorded() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    frozen = nn.Sequential(nn.Linear(3, 3, bias=False), nn.BatchNorm1d(3))
    frozen[0].weight.requires_grad_(requires_grad=False)

    assert state_size(model) == StateSize(
        tensors=1, state_bytes=36, trained_bytes=36, trained_tensors=1
    )
    size = state_size(frozen)
    assert (size.tensors, size.state_bytes) == (6, 36 + 4 * 12 + 8)
    assert (size.trained_bytes, size.trained_tensors) == (24, 2)
