"""Tests of how many lanes fit: budgets, corrections learnt from measurements, what ran out."""

from auditor.plan.room import FIRST_FACTOR, Needed
from auditor.stagelog.digest import sha256
from service.scheduler.memory import PATIENCE, MemoryModel
from service.scheduler.ready import ReadyAction

KEY = sha256(b"group")
NEEDED = Needed(fixed=100, lane=50)


def head(*, fixed: int = NEEDED.fixed, lane: int = NEEDED.lane) -> ReadyAction:
    return ReadyAction(
        id=1, tenant="default", kind="advance", group_key=KEY, priority=1, deadline=1e9, height=0,
        ready_since=0.0, max_lanes=None, fixed_bytes=fixed, lane_bytes=lane,
    )  # fmt: skip


def model(*, budget: int | None = 1300) -> MemoryModel:
    memory = MemoryModel()
    memory.add_worker("w", budget)
    return memory


def test_lanes_fit_the_budget_under_the_first_correction() -> None:
    assert model(budget=round(FIRST_FACTOR * NEEDED.of(7))).lanes(head(), worker="w") == 7


def test_one_lane_always_starts() -> None:
    assert model(budget=10).lanes(head(), worker="w") == 1


def test_without_budget_or_prediction_any_number_fits() -> None:
    assert model(budget=None).lanes(head(), worker="w") is None
    assert model().lanes(head(fixed=0, lane=0), worker="w") is None
    assert model().lanes(head(), worker="other") is None


def test_measurements_above_prediction_make_groups_smaller() -> None:
    memory = model()
    before = memory.lanes(head(), worker="w")

    ratios = [
        memory.learn("advance", KEY, needed=NEEDED, lanes=4, measured=3 * NEEDED.of(4))
        for _ in range(40)
    ]

    assert ratios[0] == 3.0
    assert memory.lanes(head(), worker="w") == int((1300 / 3 - 100) // 50)
    assert before == int((1300 / FIRST_FACTOR - 100) // 50)


def test_the_correction_never_falls_below_the_prediction() -> None:
    memory = model()
    for _ in range(40):
        memory.learn("advance", KEY, needed=NEEDED, lanes=4, measured=1)

    assert memory.lanes(head(), worker="w") == (1300 - 100) // 50
    assert memory.predicted("advance", KEY, needed=NEEDED, lanes=2) == NEEDED.of(2)


def test_other_groups_are_not_corrected() -> None:
    memory = model()
    memory.learn("evaluate", KEY, needed=NEEDED, lanes=4, measured=100 * NEEDED.of(4))

    assert memory.lanes(head(), worker="w") == int((1300 / FIRST_FACTOR - 100) // 50)


def test_what_ran_out_of_memory_is_halved_the_next_time() -> None:
    memory = model(budget=None)
    memory.ran_out("advance", KEY, lanes=9)
    assert memory.lanes(head(), worker="w") == 4

    memory.ran_out("advance", KEY, lanes=2)
    assert memory.lanes(head(), worker="w") == 1


def test_what_ran_out_is_tried_again_once_smaller_groups_have_fitted() -> None:
    memory = model(budget=None)
    memory.ran_out("advance", KEY, lanes=8)

    for _ in range(PATIENCE):
        assert memory.lanes(head(), worker="w") == 4
        memory.fitted("advance", KEY, lanes=3)  # says nothing about four
        memory.fitted("advance", KEY, lanes=4)

    assert memory.lanes(head(), worker="w") == 8


def test_what_runs_out_again_is_tried_half_as_often() -> None:
    memory = model(budget=None)
    memory.ran_out("advance", KEY, lanes=8)
    groups = []
    for _ in range(3):
        groups.append(0)
        while memory.lanes(head(), worker="w") == 4:
            memory.fitted("advance", KEY, lanes=4)
            groups[-1] += 1
        memory.ran_out("advance", KEY, lanes=8)

    assert groups == [PATIENCE, 2 * PATIENCE, 4 * PATIENCE]


def test_a_worker_that_ended_has_no_budget() -> None:
    memory = model()
    memory.add_worker("large", 9000)
    assert memory.budget == 9000

    memory.remove_worker("large")
    assert memory.budget == 1300
    memory.remove_worker("w")
    assert memory.budget is None


def test_groups_are_forecast_as_the_largest_device_runs_them() -> None:
    memory = model(budget=round(FIRST_FACTOR * NEEDED.of(3)))

    assert memory.formed("advance", KEY, needed=NEEDED, most=8) == (NEEDED.of(3), 3)
    assert memory.formed("advance", KEY, needed=NEEDED, most=2) == (NEEDED.of(2), 2)
