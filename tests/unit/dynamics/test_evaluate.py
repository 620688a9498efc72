"""Queries at states: values, their derivatives, and queries that do not fit."""

import pytest
import torch

from auditor.dynamics.evaluate import mean_query_gradient, project, query_values_at
from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState
from auditor.effects import Query, Where
from auditor.errors import InputError, NumericalError, QueryError
from auditor.stagelog.dataset import EvaluationSet
from auditor.stagelog.digest import canonical_bytes
from tests.support.cases import CASES, make_columns, make_run, write_dataset

N = 11


@pytest.fixture(scope="module")
def run() -> Run:
    return make_run(CASES["momentum kept"])


@pytest.fixture(scope="module")
def data(run: Run) -> str:
    columns = make_columns(N, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    columns["id"] = torch.arange(100, 100 + N)
    dataset = write_dataset(columns, blobs=run.blobs)
    return run.blobs.write(canonical_bytes(EvaluationSet(name="held out", dataset=dataset)))


def make_query(data: str, **changes: object) -> Query:
    plain = {"name": "q", "kind": "loss", "better": "lower", "data": data, **changes}
    return Query.model_validate(plain)


def moved(state: TrainingState, direction: TrainingState, width: float) -> TrainingState:
    return state.replaced([
        a + width * b for a, b in zip(state.tensors, direction.tensors, strict=True)
    ])  # fmt: skip


def random_direction(state: TrainingState) -> TrainingState:
    generator = torch.Generator().manual_seed(2)
    return state.replaced([
        torch.randn(t.shape, generator=generator, dtype=t.dtype) for t in state.tensors
    ])  # fmt: skip


def test_values_do_not_depend_on_chunks_or_company(run: Run, data: str) -> None:
    query = make_query(data, kind="margin")
    other = run.boundary(1)

    whole, ids = query_values_at(run, [run.boundary(3), other], query)
    parts, _ = query_values_at(run, [run.boundary(3)], query, chunk=4)

    torch.testing.assert_close(whole[0], parts[0], rtol=1e-13, atol=0.0)
    assert ids.tolist() == list(range(100, 100 + N))
    assert whole[0].dtype == torch.float64


def test_where_selects_examples(run: Run, data: str) -> None:
    query = make_query(data, where=Where(column="source", equals="b"))

    _, ids = query_values_at(run, [run.boundary(3)], query)

    assert ids.tolist() == [101, 103, 105, 107, 109]


@pytest.mark.parametrize("kind", ["loss", "logit", "margin", "probability"])
def test_projection_is_the_derivative_along_the_direction(run: Run, data: str, kind: str) -> None:
    query, final = make_query(data, kind=kind), run.boundary(3)
    direction = random_direction(final)

    values, _ = project(run, query, direction, chunk=4)

    up, down = (moved(final, direction, width) for width in (1e-5, -1e-5))
    (high, low), _ = query_values_at(run, [up, down], query)
    torch.testing.assert_close(values, (high - low) / 2e-5, rtol=1e-7, atol=1e-8)


def test_mean_gradient_is_dual_to_projection(run: Run, data: str) -> None:
    query, direction = make_query(data, kind="margin"), random_direction(run.boundary(3))

    gradient = mean_query_gradient(run, query, chunk=4)

    product = gradient.theta @ direction.theta + sum(
        gradient.buffers[n] @ direction.buffers[n] for n in gradient.buffers
    )
    torch.testing.assert_close(product, project(run, query, direction)[0].mean())


def test_accuracy_has_no_gradient(run: Run, data: str) -> None:
    query = make_query(data, kind="accuracy", better="higher")

    with pytest.raises(QueryError, match="kind"):
        mean_query_gradient(run, query)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"target": "nope"}, r"columns\[nope\]"),
        ({"inputs": {"input": "nope"}}, r"columns\[nope\]"),
        ({"kind": "margin", "class": 3}, "class"),
        ({"output": 1}, "output"),
        ({"where": {"column": "group", "equals": 77}}, "where"),
    ],
)
def test_query_that_does_not_fit_is_refused(
    run: Run, data: str, changes: dict[str, object], field: str
) -> None:
    with pytest.raises(QueryError, match=field):
        query_values_at(run, [run.boundary(3)], make_query(data, **changes))


def test_unknown_column_of_where_is_refused(run: Run, data: str) -> None:
    with pytest.raises(InputError, match="vendor"):
        query_values_at(
            run, [run.boundary(3)], make_query(data, where=Where(column="vendor", equals=1))
        )


def test_values_that_are_not_finite_are_refused(run: Run, data: str) -> None:
    final = run.boundary(3)
    broken = TrainingState(theta=final.theta * torch.nan, slots={}, buffers=final.buffers)

    with pytest.raises(NumericalError, match="query 'q'"):
        query_values_at(run, [broken], make_query(data))
