"""Task vectors: exact for the last stage, added parameters from their initial values."""

import pytest
import torch

from auditor.dynamics.displace import displaced_final_state
from tests.support.cases import BODY, CASES, HEAD, make_run


@pytest.mark.parametrize("case", CASES)
def test_last_stage_gives_the_parameters_before_it(case: str) -> None:
    run = make_run(CASES[case])

    found = displaced_final_state(run, [2])

    before = run.transition(2)(run.boundary(2))
    torch.testing.assert_close(found.theta, before.theta, rtol=1e-12, atol=1e-14)
    assert torch.equal(found.buffers["body.running"], run.boundary(3).buffers["body.running"])


def test_first_stage_subtracts_its_change() -> None:
    run = make_run(CASES["sgd"])

    found = displaced_final_state(run, [0])

    change = run.boundary(1).theta - run.boundary(0).theta
    torch.testing.assert_close(found.theta, run.boundary(3).theta - change)


def test_added_parameters_lose_their_change_since_they_were_added() -> None:
    run = make_run(CASES["added head, momentum"])

    found = run.layout(2).unflatten(displaced_final_state(run, [1]).theta)

    final = run.layout(2).unflatten(run.boundary(3).theta)
    after = run.layout(1).unflatten(run.boundary(2).theta)
    added = run.added_values(1)
    for name in HEAD:
        torch.testing.assert_close(found[name], final[name] - (after[name] - added[name]))


def test_stage_before_a_parameter_was_added_leaves_it_alone() -> None:
    run = make_run(CASES["added head, momentum"])

    found = run.layout(2).unflatten(displaced_final_state(run, [0]).theta)

    final = run.layout(2).unflatten(run.boundary(3).theta)
    assert all(torch.equal(found[name], final[name]) for name in HEAD)
    assert not any(torch.equal(found[name], final[name]) for name in BODY)
