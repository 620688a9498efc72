"""Properties over random runs: optimizers, hyperparameters, transitions and windows are drawn."""

from typing import Literal

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.dynamics.adjoint import sweep
from auditor.dynamics.tangent import stage_embedding
from auditor.dynamics.trajectory import Lane, advance
from auditor.plan.request import Intervention, StepWindow
from tests.identities.test_aa_score import cotangent, difference, product
from tests.support.cases import (
    ALL,
    BODY,
    HEAD,
    GroupSpec,
    StageSpec,
    adam,
    make_run,
    quiet,
    sgd,
)
from tests.support.dense import flat, retrain, within

rates = st.floats(0.01, 0.3)
decays = st.sampled_from([0.0, 0.05])
split = st.sampled_from([(ALL,), (BODY, HEAD), (HEAD, BODY), (HEAD,)])


@st.composite
def sgd_stages(draw: st.DrawFn) -> StageSpec:
    nesterov = draw(st.booleans())
    momentum = draw(st.sampled_from([0.5, 0.9]) if nesterov else st.sampled_from([0.0, 0.9]))
    dampening = 0.0 if nesterov or momentum == 0 else draw(st.sampled_from([0.0, 0.3]))
    groups = tuple(
        sgd(
            *names,
            lr=draw(rates),
            momentum=momentum,
            dampening=dampening,
            weight_decay=draw(decays),
        )
        for names in draw(split)
    )
    return stage(draw, "sgd", groups, nesterov=nesterov)


@st.composite
def adam_stages(draw: st.DrawFn) -> StageSpec:
    groups = tuple(
        adam(*names, lr=draw(st.floats(0.01, 0.1)), weight_decay=draw(decays))
        for names in draw(split)
    )
    return stage(draw, draw(st.sampled_from(["adam", "adamw"])), groups, nesterov=False)


def stage(
    draw: st.DrawFn, kind: str, groups: tuple[GroupSpec, ...], *, nesterov: bool
) -> StageSpec:
    transition: Literal["reset", "keep"] = draw(st.sampled_from(["reset", "keep"]))
    return StageSpec(
        kind=kind,
        nesterov=nesterov,
        groups=groups,
        steps=draw(st.integers(2, 4)),
        batch=draw(st.integers(1, 4)),
        transition=transition,
    )


runs = st.one_of(
    st.tuples(sgd_stages(), sgd_stages(), sgd_stages()),
    st.tuples(adam_stages(), adam_stages(), adam_stages()),
)


@given(stages=runs, seed=st.integers(0, 10**6), data=st.data())
@settings(max_examples=12)
def test_tangent_adjoint_and_differences_agree(
    stages: tuple[StageSpec, ...], seed: int, data: st.DataObject
) -> None:
    run = make_run(stages, seed=seed)
    index = data.draw(st.integers(0, 2))
    recorded = run.log.stages[index]
    first = data.draw(st.integers(recorded.first_step, recorded.end_step - 1))
    end = data.draw(st.integers(first + 1, recorded.end_step))
    window = StepWindow(first_step=first, end_step=end)
    skip = Intervention(kind="skip", stage=recorded.name, steps=window)
    query = cotangent(run)

    embedding = stage_embedding(run, skip, curvature="exact", on_block=quiet)
    adjoint = sweep(run, query, curvature="exact", on_block=quiet)[first:end].sum()

    tangent = product(query, embedding.theta, dict(embedding.buffers))
    torch.testing.assert_close(tangent, adjoint, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(tangent, difference(run, first, end), rtol=1e-6, atol=1e-8)


@given(
    stages=runs,
    seed=st.integers(0, 10**6),
    alphas=st.lists(st.floats(0, 1), min_size=1, max_size=3),
)
@settings(max_examples=15)
def test_faded_lanes_equal_plain_loops(
    stages: tuple[StageSpec, ...], seed: int, alphas: list[float]
) -> None:
    run = make_run(stages, seed=seed, weighted=True)
    lanes = [Lane(Intervention(kind="fade", stage="stage0", alpha=alpha)) for alpha in alphas]
    states = advance(run, 0, [run.boundary(0)] * len(lanes), lanes=lanes, on_block=quiet).states
    for index in (1, 2):
        plain = [Lane()] * len(lanes)
        states = advance(run, index, states, lanes=plain, on_block=quiet).states

    end = run.log.stages[0].end_step
    for alpha, state in zip(alphas, states, strict=True):
        truth = retrain(run, within(0, end, alpha=alpha))
        torch.testing.assert_close(state.theta, flat(run, truth), rtol=1e-9, atol=1e-12)
