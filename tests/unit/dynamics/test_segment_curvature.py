"""EK-FAC of recorded stages: normalised as their steps are."""

import pytest
import torch

from auditor.curvature.ggn import GgnCurvature
from auditor.dynamics.run import Run
from auditor.dynamics.segment_curvature import ekfac_of
from auditor.errors import PreconditionError, UnsupportedError
from tests.support.cases import CASES, make_run
from tests.support.dense import minibatch
from tests.support.graph_model import graph_model


def graph_run(**changes: object) -> Run:
    return make_run(CASES["momentum kept"], buffers={}, model_of=graph_model, **changes)


@pytest.mark.parametrize("weighted", [False, True])
def test_trace_is_the_mean_of_the_steps(weighted: bool) -> None:
    run = graph_run(weighted=weighted)
    end = run.boundary(2)

    curvature = ekfac_of(run, 1, end, examples=100, seed=0)

    gradient = GgnCurvature().gradient_of(run.objective(1))
    traces = [
        torch.func.jacrev(lambda t, b=batch: gradient(t, {}, b)[0])(end.theta).trace()
        for batch in (
            minibatch(run, run.log.stages[1], index=1, step=step)
            for step in range(run.log.stages[1].first_step, run.log.stages[1].end_step)
        )
    ]
    torch.testing.assert_close(curvature.eigenvalues.sum(), torch.stack(traces).mean())


def test_a_part_of_a_large_batch_is_used() -> None:
    run = graph_run()
    whole = ekfac_of(run, 0, run.boundary(1), examples=100, seed=0).eigenvalues.sum()

    few = [
        ekfac_of(run, 0, run.boundary(1), examples=2, seed=seed).eigenvalues.sum()
        for seed in range(40)
    ]

    # Unbiased: the mean of 40 draws of 2 of 19 examples lies within 4 standard errors.
    drawn = torch.stack(few)
    assert (drawn.mean() - whole).abs() < 4 * drawn.std() / 40**0.5
    assert drawn.std() > 0.05 * whole


def test_a_stage_without_steps_has_no_curvature() -> None:
    run = graph_run()
    stage = run.log.stages[0].model_copy(update={"end_step": run.log.stages[0].first_step})
    empty = Run(
        run.log.model_copy(update={"stages": (stage, *run.log.stages[1:])}),
        run.log_digest,
        run.blobs,
        model_of=graph_model,
    )

    with pytest.raises(PreconditionError, match="at least one step"):
        ekfac_of(empty, 0, run.boundary(1), examples=8, seed=0)


def test_graphless_objectives_are_refused() -> None:
    run = make_run(CASES["sgd"])

    with pytest.raises(UnsupportedError, match="recorded graph"):
        ekfac_of(run, 0, run.boundary(1), examples=8, seed=0)
