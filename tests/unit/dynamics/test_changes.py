"""Changed schedules: which numbers change, which steps, and what is refused."""

import numpy as np
import pytest
import torch

from auditor.dynamics.changes import changed_schedule, intervened_hyperparameters
from auditor.dynamics.run import Run
from auditor.dynamics.trajectory import Lane, advance
from auditor.errors import DomainError, InputError
from auditor.plan.request import Change, Intervention, StepWindow
from auditor.stagelog.schedule import Schedule
from tests.support.cases import ADAMW, CASES, make_run, quiet, staged


@pytest.fixture(scope="module")
def run() -> Run:
    return make_run(CASES["two groups kept"])


def change(*, steps: StepWindow | None = None, **changes: Change) -> Intervention:
    return Intervention(kind="change", stage="stage1", hyperparameters=changes, steps=steps)


def numbers(run: Run, intervention: Intervention | None) -> np.ndarray:
    """Return lr, momentum, dampening and weight decay, [steps, groups, 4]."""
    found = intervened_hyperparameters(run, 1, intervention=intervention)
    return found.rows.reshape(run.log.stages[1].steps, -1, 4).numpy()


def test_scale_multiplies_the_schedule_of_every_group(run):
    recorded = numbers(run, None)

    changed = numbers(run, change(lr=Change(scale=0.5)))

    np.testing.assert_array_equal(changed[..., 0], 0.5 * recorded[..., 0])
    np.testing.assert_array_equal(changed[..., 1:], recorded[..., 1:])


def test_value_takes_the_place_of_the_schedule_in_the_window_only(run):
    recorded, first = numbers(run, None), run.log.stages[1].first_step
    steps = StepWindow(first_step=first + 1, end_step=first + 3)

    changed = numbers(run, change(weight_decay=Change(value=0.25), steps=steps))

    assert (changed[1:3, :, 3] == 0.25).all()
    np.testing.assert_array_equal(changed[[0, 3, 4]], recorded[[0, 3, 4]])


@pytest.mark.parametrize(
    "intervention", [None, Intervention(kind="fade", stage="stage1", alpha=0.5)]
)
def test_other_interventions_keep_the_recorded_numbers(run, intervention):
    found = intervened_hyperparameters(run, 1, intervention=intervention)

    assert found is run.hyperparameters(1)


def test_lanes_with_the_same_change_share_its_numbers(run):
    one, other = change(lr=Change(scale=0.5)), change(lr=Change(scale=0.5))

    assert intervened_hyperparameters(run, 1, intervention=one) is intervened_hyperparameters(
        run, 1, intervention=other
    )


@pytest.mark.parametrize("name", ["beta1", "rate"])
def test_hyperparameters_that_the_optimizer_does_not_have_are_refused(run, name):
    with pytest.raises(InputError, match=f"hyperparameters.{name}: expected a hyperparameter of"):
        intervened_hyperparameters(run, 1, intervention=change(**{name: Change(value=0.5)}))


def test_a_rate_scaled_beyond_all_numbers_is_refused(run):
    stage, schedule = run.log.stages[1], run.schedule(1)
    large = {"weight_decay": np.full(schedule.columns["lr"].shape, 2.0)}
    schedule = Schedule(first_step=schedule.first_step, columns={**schedule.columns, **large})

    with pytest.raises(DomainError, match="weight_decay: expected finite numbers"):
        changed_schedule(
            schedule, stage, changes={"weight_decay": Change(scale=1e308)}, steps=(0, 2)
        )


def test_a_beta_scaled_to_one_is_refused():
    adam = make_run(staged(ADAMW, transition="keep"))

    with pytest.raises(DomainError, match="beta2: expected numbers from 0 to below 1"):
        intervened_hyperparameters(adam, 1, intervention=change(beta2=Change(scale=1.2)))


def test_lanes_with_other_forms_and_slots_agree_with_single_lanes():
    sgd = make_run(CASES["sgd decay"])
    interventions = [
        None,
        change(momentum=Change(value=0.9)),
        change(lr=Change(scale=0.5)),
        change(weight_decay=Change(value=0.0)),
        Intervention(kind="skip", stage="stage1"),
        Intervention(kind="fade", stage="stage1", alpha=0.5),
    ]
    lanes = [Lane(intervention=one) for one in interventions]
    start = sgd.boundary(1)

    grouped = advance(sgd, 1, [start] * len(lanes), lanes=lanes, on_block=quiet).states

    for lane, state in zip(lanes, grouped, strict=True):
        single = advance(sgd, 1, [start], lanes=[lane], on_block=quiet).states[0]
        torch.testing.assert_close(state.theta, single.theta, rtol=1e-12, atol=1e-12)
        assert set(state.slots) == set(single.slots)
    assert "momentum_buffer" in grouped[1].slots
    assert "momentum_buffer" not in grouped[2].slots
