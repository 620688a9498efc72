"""Queries about the same examples share forward passes, and none is changed by its company."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from auditor.dynamics.computations import Computations
from auditor.dynamics.evaluate import Evaluation, evaluate
from auditor.dynamics.run import Run
from auditor.dynamics.spans import CPU_LANE_WORK
from auditor.dynamics.state import TrainingState
from auditor.effects import Query
from auditor.errors import InternalError
from auditor.stagelog.dataset import EvaluationSet
from auditor.stagelog.digest import canonical_bytes
from tests.support.cases import CASES, make_columns, make_run, mlp_model, write_dataset

N = 9
KINDS = ("loss", "margin", "accuracy", "ece")
SETTINGS: Mapping[str, Mapping[str, object]] = {"ece": {"bins": 3}}


class Passes:
    """The synthetic model, noting how many examples each of its forward passes had."""

    def __init__(self) -> None:
        self.examples: list[int] = []

    def __call__(self, run: Run, stage: int) -> Computations:
        plain = mlp_model(run, stage)

        def forward(
            theta: Tensor, buffers: Mapping[str, Tensor], inputs: tuple[Tensor, ...]
        ) -> tuple[Tensor, ...]:
            self.examples.append(len(inputs[0]))
            return plain.forward(theta, buffers, inputs)

        return replace(plain, forward=forward)


def make_queries(run: Run, *kinds: str, **changes: object) -> list[Query]:
    columns = make_columns(N, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    dataset = write_dataset(columns, blobs=run.blobs)
    data = run.blobs.write(canonical_bytes(EvaluationSet(name="held out", dataset=dataset)))
    return [
        Query.model_validate({
            "name": kind, "kind": kind, "better": "lower", "data": data,
            **SETTINGS.get(kind, {}), **changes,
        })
        for kind in kinds
    ]  # fmt: skip


def asked_of(run: Run, states: list[TrainingState], *kinds: str) -> list[Evaluation]:
    return evaluate(run, [(s, q) for q in make_queries(run, *kinds) for s in states])


def test_a_state_passes_once_for_all_queries() -> None:
    passes = Passes()
    run = make_run(CASES["momentum kept"], model_of=passes)
    state = run.boundary(3)
    asked = [(state, query) for query in make_queries(run, *KINDS)]
    passes.examples.clear()

    evaluate(run, asked, chunk=5)

    checks = [1] * len(KINDS)  # each query looks at the shape of one example's output
    assert passes.examples == [*checks, 5, 4]


def test_values_are_those_of_a_query_that_is_alone() -> None:
    run = make_run(CASES["momentum kept"])
    state = run.boundary(3)

    together = asked_of(run, [state], *KINDS)

    for kind, found in zip(KINDS, together, strict=True):
        (alone,) = asked_of(run, [state], kind)
        assert torch.equal(found.values, alone.values)
        assert found.jackknife == (kind == "ece")


def test_small_states_pass_together_and_agree_with_single_ones() -> None:
    passes = Passes()
    run = make_run(CASES["momentum kept"], model_of=passes)
    states = [run.boundary(boundary) for boundary in (1, 2, 3)]
    passes.examples.clear()

    together = asked_of(run, states, "loss", "margin")

    assert passes.examples == [1, 1, N]
    for position, state in enumerate(states):
        for offset, kind in ((0, "loss"), (len(states), "margin")):
            (alone,) = asked_of(run, [state], kind)
            torch.testing.assert_close(
                together[offset + position].values, alone.values, rtol=1e-13, atol=0.0
            )


def test_a_state_that_fills_the_processor_passes_alone() -> None:
    passes = Passes()
    run = make_run(CASES["momentum kept"], model_of=passes)
    size = run.boundary(3).theta.numel()
    assert size * N < CPU_LANE_WORK  # the pass above is one of many small ones
    columns = make_columns(
        CPU_LANE_WORK // size + 1, generator=torch.Generator().manual_seed(5), dtype=torch.float64
    )
    dataset = write_dataset(columns, blobs=run.blobs)
    data = run.blobs.write(canonical_bytes(EvaluationSet(name="many", dataset=dataset)))
    query = Query.model_validate({"name": "q", "kind": "loss", "better": "lower", "data": data})
    number = len(columns["label"])
    passes.examples.clear()

    evaluate(run, [(run.boundary(b), query) for b in (1, 2, 3)], chunk=number)

    assert passes.examples == [1, number, number, number]


def test_queries_about_other_examples_are_no_group() -> None:
    run = make_run(CASES["momentum kept"])
    whole = make_queries(run, "loss")
    part = make_queries(run, "loss", where={"column": "source", "equals": "b"})

    with pytest.raises(InternalError, match="one selection of examples"):
        evaluate(run, [(run.boundary(3), query) for query in (*whole, *part)])
