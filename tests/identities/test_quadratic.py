"""On a quadratic loss every stage is an affine map: retraining equals its closed form."""

from dataclasses import replace

import pytest
import torch

from auditor.dynamics.trajectory import Lane, advance
from tests.support.cases import StageSpec, one_group, quiet, sgd
from tests.support.quadratic import affine_stage, make_quadratic_run

WEIGHT = ("weight",)
SPECS = {
    "sgd": one_group(sgd(*WEIGHT, lr=0.1)),
    "decay": one_group(sgd(*WEIGHT, lr=0.1, weight_decay=0.2)),
    "momentum": one_group(sgd(*WEIGHT, lr=0.05, momentum=0.9)),
    "nesterov": one_group(sgd(*WEIGHT, lr=0.05, momentum=0.9, weight_decay=0.1), nesterov=True),
}


@pytest.mark.parametrize("transition", ["reset", "keep"])
@pytest.mark.parametrize("name", SPECS)
def test_skipping_first_stage_equals_affine_map(name: str, transition: str) -> None:
    spec: StageSpec = replace(SPECS[name], transition=transition)
    run = make_quadratic_run((spec, spec, spec))
    state = run.boundary(0)

    for index in (1, 2):
        state = advance(run, index, [state], lanes=[Lane()], on_block=quiet).states[0]

    point = torch.cat([run.boundary(0).theta, torch.zeros(4, dtype=torch.float64)])
    for index in (1, 2):
        matrix, shift = affine_stage(run, index)
        if transition == "reset":
            point = torch.cat([point[:4], torch.zeros(4, dtype=torch.float64)])
        point = matrix @ point + shift
    torch.testing.assert_close(state.theta, point[:4], rtol=1e-11, atol=1e-13)
