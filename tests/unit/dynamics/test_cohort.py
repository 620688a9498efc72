"""Lanes of different runs side by side: each as if it were alone, and traced once."""

from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import TypeVar, final

import pytest
import torch
from torch import Tensor

from auditor.dynamics.cohort import Leg, cohorts
from auditor.dynamics.prepared import Prepared
from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState
from auditor.dynamics.trajectory import Lane, carry
from auditor.model.tensors import write_tensors
from auditor.plan.request import Change, Intervention, Selection, StepWindow
from auditor.stagelog.log import ParameterInfo
from tests.support.cases import CASES, MOMENTUM, StageSpec, make_run, mlp_model, quiet, sgd

Value = TypeVar("Value")

FADE = Intervention(kind="fade", stage="stage1", alpha=0.4)
WINDOW = Intervention(kind="skip", stage="stage1", steps=StepWindow(first_step=6, end_step=8))
DROP = Intervention(kind="drop", stage="stage1", where=Selection(columns={"source": ("b",)}))
SLOWER = Intervention(kind="change", stage="stage1", hyperparameters={"lr": Change(scale=0.5)})
SKIP = Intervention(kind="skip", stage="stage1")
LANES = [
    Lane(),
    Lane(FADE),
    Lane(WINDOW),
    Lane(DROP, seed=2),
    Lane(SLOWER),
    Lane(SKIP),
    Lane(fraction=0.5),
    Lane(fraction=0.5, replica=1),
    Lane(WINDOW, fraction=0.5),
    Lane(order=1),
]


Start = tuple[Leg, TrainingState]


def departure(run: Run, stage: int, *, lane: Lane) -> Start:
    """Return a trajectory that is about to take every step of a stage from its recorded start."""
    steps = range(run.log.stages[stage].steps)
    leg = Leg(run=run, stage_index=stage, lane=lane, steps=steps)
    return leg, run.transition(stage)(run.boundary(stage))


def carried(starts: list[Start]) -> list[TrainingState]:
    legs, states = zip(*starts, strict=True)
    return carry(legs, iter(states), on_block=quiet).states


def starts_of(*runs: Run, stage: int = 1) -> list[Start]:
    """Return every lane of every run, those of different runs in turn."""
    return [departure(run, stage, lane=lane) for lane in LANES for run in runs]


def faster(stages: tuple[StageSpec, ...]) -> tuple[StageSpec, ...]:
    """Return the same stages at another rate."""
    return tuple(
        replace(
            spec,
            groups=tuple(
                replace(group, numbers={**group.numbers, "lr": 0.6 * group.numbers["lr"]})
                for group in spec.groups
            ),
        )
        for spec in stages
    )


def alone(start: Start) -> Tensor:
    return carried([start])[0].theta


def cohorts_of(starts: list[Start]) -> int:
    return len(cohorts([leg for leg, _ in starts if leg.lane.intervention != SKIP]))


def require_as_alone(together: list[Start], *, rtol: float = 1e-10) -> None:
    for start, state in zip(together, carried(together), strict=True):
        torch.testing.assert_close(state.theta, alone(start), rtol=rtol, atol=1e-13)


@pytest.mark.parametrize("case", CASES)
def test_lanes_of_different_runs_are_as_if_alone(case: str) -> None:
    one, other = make_run(CASES[case]), make_run(faster(CASES[case]), seed=5)

    together = starts_of(one, other)

    assert cohorts_of(together) == 2  # two fractions
    require_as_alone(together)


def test_weights_of_one_run_are_not_those_of_another() -> None:
    require_as_alone(
        starts_of(make_run(CASES["sgd"], weighted=True), make_run(CASES["sgd"], seed=5))
    )


def test_lanes_of_different_stages_share_steps() -> None:
    run = make_run(CASES["adamw kept"])
    together = [departure(run, stage, lane=Lane()) for stage in range(3)]

    assert cohorts_of(together) == 1
    require_as_alone(together)


def test_float32_lanes_agree_to_its_rounding() -> None:
    runs = [make_run(CASES["adamw kept"], seed=seed, dtype=torch.float32) for seed in (0, 5)]

    require_as_alone(starts_of(*runs), rtol=2e-5)


OTHERS: dict[str, Callable[[], Run]] = {
    "steps of other sizes": lambda: make_run((MOMENTUM, replace(MOMENTUM, batch=7)), seed=5),
    "more steps": lambda: make_run((MOMENTUM, replace(MOMENTUM, steps=9)), seed=5),
    "another optimizer": lambda: make_run(CASES["adam reset"][:2], seed=5),
    "other groups": lambda: make_run(CASES["two groups kept"][:2], seed=5),
    "another dtype": lambda: make_run((MOMENTUM, MOMENTUM), seed=5, dtype=torch.float32),
    "other constants": lambda: with_constant(make_run((MOMENTUM, MOMENTUM), seed=5)),
}


def with_constant(run: Run) -> Run:
    """Return the run with a buffer of integers, which steps close over."""
    stages = []
    for stage in run.log.stages:
        checkpoint = stage.checkpoints[-1]
        values = {
            **run.values(checkpoint, names=frozenset(run.log.parameters), where="test"),
            "ids": torch.arange(3),
        }
        parameters = run.blobs.write(write_tensors(values))
        checkpoint = checkpoint.model_copy(update={"parameters": parameters})
        stages.append(stage.model_copy(update={"checkpoints": (checkpoint,)}))
    names = run.log.parameters | {"ids": ParameterInfo(shape=(3,), dtype="int64", kind="buffer")}
    log = run.log.model_copy(update={"parameters": names, "stages": tuple(stages)})
    return Run(log, run.log_digest, run.blobs, model_of=mlp_model)


@pytest.mark.parametrize("make_other", OTHERS.values(), ids=OTHERS.keys())
def test_what_does_not_fit_runs_apart(make_other: Callable[[], Run]) -> None:
    one, other = make_run((MOMENTUM, MOMENTUM)), make_other()
    together = [departure(run, 1, lane=Lane()) for run in (one, other)]

    assert cohorts_of(together) == 2
    require_as_alone(together)


def test_equal_constants_are_shared_and_others_are_not() -> None:
    def with_ids(ids: Tensor) -> Run:
        run = with_constant(make_run((MOMENTUM, MOMENTUM), seed=int(ids[0])))
        run.constants(1)["ids"] = ids
        return run

    runs = [with_ids(torch.tensor(ids)) for ids in ([0, 1, 2], [0, 1, 2], [5, 1, 2])]

    identities = [run.step_identity(1) for run in runs]

    assert identities[0] == identities[1] != identities[2]


def test_lanes_begin_where_they_are() -> None:
    one, other = (make_run(CASES["momentum kept"], seed=seed) for seed in (0, 5))
    whole = [departure(run, 1, lane=Lane()) for run in (one, other)]
    half = [(replace(leg, steps=range(2)), state) for leg, state in whole]

    middle = carried(half)
    rest = [
        (replace(leg, steps=range(2, 5)), state)
        for (leg, _), state in zip(whole, middle, strict=True)
    ]
    ends = carried([rest[0], whole[1], rest[1]])

    for own, end in zip((whole[0], whole[1], whole[1]), ends, strict=True):
        torch.testing.assert_close(end.theta, alone(own), rtol=1e-10, atol=1e-13)


@final
class Counted:
    """A store that remembers what was made for it."""

    def __init__(self) -> None:
        self.made: list[Hashable] = []
        self._kept = Prepared()

    def keep(self, key: Hashable, make: Callable[[], Value]) -> Value:
        if not self.keeps(key):
            self.made.append(key)
        return self._kept.keep(key, make)

    def keeps(self, key: Hashable) -> bool:
        return self._kept.keeps(key)


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_second_log_of_an_architecture_is_not_traced_again(lanes: int) -> None:
    counted, made = Counted(), []
    for seed in range(3):
        run = make_run((replace(MOMENTUM, steps=80),), seed=seed)
        own = Run(run.log, run.log_digest, run.blobs, model_of=mlp_model, prepared=counted)
        start = departure(own, 0, lane=Lane())
        carried([start] * lanes)
        made.append(len(counted.made))

    assert made == [1, 1, 1]


def test_progress_counts_the_steps_of_all_lanes() -> None:
    told: list[tuple[int, int]] = []
    short, long = make_run((MOMENTUM,)), make_run((replace(MOMENTUM, steps=40),), seed=5)
    together = [departure(run, 0, lane=Lane()) for run in (short, long, long)]

    legs, states = zip(*together, strict=True)
    carry(legs, states, on_block=lambda *done: told.append(done))

    assert told[-1] == (5 + 40 + 40, 85)


def test_one_run_may_leave_out_what_another_needs() -> None:
    plain = make_run((replace(MOMENTUM, groups=(sgd(),)),) * 2)
    moving = make_run((MOMENTUM, MOMENTUM), seed=5)
    together = [departure(run, 1, lane=Lane()) for run in (plain, moving)]

    require_as_alone(together)  # one has no momentum buffer, and so another form
