"""Model families: lanes of two logs of one architecture side by side are as if alone."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from auditor.dynamics.cohort import Leg, cohorts
from auditor.dynamics.prepared import Prepared
from auditor.dynamics.run import Run
from auditor.dynamics.trajectory import Lane, carry
from auditor.plan.geometry import stage_digest
from auditor.plan.request import Change, Intervention, StepWindow
from tests.support.cases import quiet
from tests.support.families import STAGES, STEPS, Family, Recorded, in_double, record
from tests.support.family_chain import distance, recorded_once
from tests.support.family_models import ADAPTED, TEXT, VISION

FLOAT32 = 1e-5
"""After 20 steps: vmap takes sums in another order, and trainings amplify rounding."""

AMPLIFYING = {"resnet18": 5e-4}
"""Twenty batch norms over six examples, and ReLUs that flip: as far as a rerun may end, too."""

FLOAT64 = 1e-10

FAMILIES = VISION | TEXT | ADAPTED
IN_DOUBLE = {name: family for name, family in VISION.items() if name != "vit"}
"""Exported graphs of transformers hold constants in float32: they are no float64 models."""


def elsewhere(family: Family) -> Family:
    """Return the architecture with other initial values, data and rate."""

    def build() -> nn.Module:
        torch.manual_seed(11)
        return family.build()

    def columns(generator: torch.Generator, examples: int) -> dict[str, Tensor]:
        generator.manual_seed(generator.initial_seed() + 1000)
        return family.columns(generator, examples)

    return replace(family, build=build, columns=columns, rate=0.7 * family.rate)


@cache
def recorded_elsewhere(family: Family) -> Recorded:
    return record(elsewhere(family))


def lanes_of(stage: str, first_step: int) -> list[Lane]:
    window = StepWindow(first_step=first_step + 4, end_step=first_step + 9)
    return [
        Lane(),
        Lane(Intervention(kind="skip", stage=stage, steps=window)),
        Lane(Intervention(kind="fade", stage=stage, alpha=0.5)),
        Lane(Intervention(kind="change", stage=stage, hyperparameters={"lr": Change(scale=0.5)})),
        Lane(fraction=0.67, replica=1),
    ]


def require_as_alone(logs: tuple[Recorded, Recorded], stage: int, *, tolerance: float) -> None:
    """Lanes of both logs share steps, and each ends where it ends alone."""
    prepared = Prepared()
    runs = [Run(own.log, own.digest, own.blobs, prepared=prepared) for own in logs]
    lanes = lanes_of(STAGES[stage], runs[0].log.stages[stage].first_step)
    together = [
        Leg(run=run, stage_index=stage, lane=lane, steps=range(STEPS))
        for lane in lanes
        for run in runs
    ]
    starts = [own.run.transition(stage)(own.run.boundary(stage)) for own in together]

    grouped = carry(together, starts, on_block=quiet).states

    assert len({stage_digest(own.log, stage) for own in logs}) == 1
    assert len(cohorts(together)) == 2, "one for each fraction"
    for leg, start, state in zip(together, starts, grouped, strict=True):
        single = carry([leg], [start], on_block=quiet).states[0].theta
        assert distance(state.theta, single) < tolerance
        moved = distance(state.theta, start.theta)
        assert moved > 5 * tolerance, "steps that move nothing"


@pytest.mark.parametrize("name", FAMILIES)
def test_lanes_of_two_logs_are_as_if_alone(name: str) -> None:
    logs = (recorded_once(FAMILIES[name]), recorded_elsewhere(FAMILIES[name]))
    last = len(STAGES) - 1  # where adapters and new heads are trained

    require_as_alone(logs, last, tolerance=AMPLIFYING.get(name, FLOAT32))


@pytest.mark.parametrize("name", IN_DOUBLE)
def test_lanes_of_two_logs_are_as_if_alone_to_rounding(name: str) -> None:
    family = in_double(IN_DOUBLE[name])

    require_as_alone((record(family), recorded_elsewhere(family)), 0, tolerance=FLOAT64)
