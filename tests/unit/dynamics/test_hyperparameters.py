"""Schedules as tensors: forms, slots, and what is refused."""

import numpy as np
import pytest
import torch

from auditor.dynamics.hyperparameters import stage_hyperparameters
from auditor.errors import StageLogError, UnsupportedError
from auditor.stagelog.log import Optimizer, Stage
from auditor.stagelog.schedule import Schedule
from tests.support.cases import CASES, make_run

LIKE = torch.zeros((), dtype=torch.float32)


def make_stage(case: str = "sgd") -> Stage:
    return make_run(CASES[case]).log.stages[0]


def make_schedule(**columns: list[float]) -> Schedule:
    steps = 5
    values = {"lr": [0.1], "momentum": [0.0], "dampening": [0.0], "weight_decay": [0.0], **columns}
    return Schedule(
        first_step=0,
        columns={n: np.broadcast_to(np.array(v)[:, None], (steps, 1)) for n, v in values.items()},
    )


def test_plain_sgd_needs_no_slots() -> None:
    found = stage_hyperparameters(make_stage(), make_schedule(), like=LIKE, where="stages[0]")

    assert found.slots == ()
    assert found.rows.dtype == torch.float32


def test_momentum_in_some_steps_changes_their_form() -> None:
    schedule = make_schedule(momentum=[0.9, 0.9, 0.0, 0.9, 0.9])

    found = stage_hyperparameters(make_stage(), schedule, like=LIKE, where="stages[0]")

    assert [form[0].momentum for form in found.forms] == [True, True, False, True, True]
    assert found.slots == ("initialised", "momentum_buffer")


def test_adam_numbers_are_float64() -> None:
    run = make_run(CASES["adamw kept"], dtype=torch.float32)

    assert run.hyperparameters(0).rows.dtype == torch.float64


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"optimizer": Optimizer(kind="lion")}, r"optimizer\.kind"),
        ({"optimizer": Optimizer(kind="adam", amsgrad=True)}, r"optimizer\.amsgrad"),
        ({"optimizer": Optimizer(kind="sgd", maximize=True)}, r"optimizer\.maximize"),
    ],
)
def test_arithmetic_that_is_not_built_is_refused_by_name(
    changes: dict[str, object], field: str
) -> None:
    stage = make_stage().model_copy(update=changes)

    with pytest.raises(UnsupportedError, match=field):
        stage_hyperparameters(stage, make_schedule(), like=LIKE, where="stages[0]")


def test_schedule_of_another_stage_is_refused() -> None:
    schedule = Schedule(first_step=5, columns=make_schedule().columns)

    with pytest.raises(StageLogError, match=r"stages\[0\]\.schedule"):
        stage_hyperparameters(make_stage(), schedule, like=LIKE, where="stages[0]")
