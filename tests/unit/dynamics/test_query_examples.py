"""Which examples, positions, groups and clusters a query is about."""

import pytest
import torch

from auditor.dynamics.evaluate import evaluate
from auditor.dynamics.group_sizes import group_sizes
from auditor.dynamics.query_examples import MAX_GROUPS, query_examples
from auditor.dynamics.run import Run
from auditor.effects import Query
from auditor.errors import QueryError
from auditor.model.queries import query_values
from auditor.stagelog.dataset import EvaluationSet
from auditor.stagelog.digest import canonical_bytes
from tests.support.cases import CASES, make_columns, make_run, write_dataset

N = 12


@pytest.fixture(scope="module")
def run() -> Run:
    return make_run(CASES["momentum kept"])


@pytest.fixture(scope="module")
def data(run: Run) -> str:
    columns = make_columns(N, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    columns |= {
        "clinic": torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]),
        "share": torch.rand(N, generator=torch.Generator().manual_seed(1)),
        "mask": torch.ones(N, 2, dtype=torch.uint8),
    }
    dataset = write_dataset(columns, blobs=run.blobs)
    return run.blobs.write(canonical_bytes(EvaluationSet(name="held out", dataset=dataset)))


def make_query(data: str, **changes: object) -> Query:
    return Query.model_validate({
        "name": "q",
        "kind": "loss",
        "better": "lower",
        "data": data,
        **changes,
    })


def test_all_values_of_a_column_are_groups(run: Run, data: str) -> None:
    by_text = query_examples(run, make_query(data, kind="accuracy_gap", group="source")).groups
    by_number = query_examples(run, make_query(data, kind="accuracy_gap", group="clinic")).groups

    assert by_text is not None
    assert (by_text.names, by_text.of.tolist()) == (["a", "b"], [0, 1] * 6)
    assert by_number is not None
    assert by_number.names == ["0", "1", "2", "3"]


def test_named_groups_select_their_examples(run: Run, data: str) -> None:
    query = make_query(data, kind="accuracy_gap", group="clinic", groups=(3, 1))

    found = query_examples(run, query)

    assert found.ids.tolist() == [3, 4, 5, 9, 10, 11]
    assert found.groups is not None
    assert found.groups.of.tolist() == [1, 1, 1, 0, 0, 0]


def test_sizes_are_those_of_the_groups_that_are_compared(run: Run, data: str) -> None:
    by_text = make_query(data, kind="worst_group", group="source")
    named = make_query(data, kind="accuracy_gap", group="clinic", groups=(3, 1))

    assert group_sizes(run, by_text) == {"a": 6, "b": 6}
    assert group_sizes(run, named) == {"3": 3, "1": 3}
    assert group_sizes(run, make_query(data)) == {}


def test_cluster_is_kept_beside_values(run: Run, data: str) -> None:
    query = make_query(data, cluster="clinic", where={"column": "source", "equals": "b"})

    (found,) = evaluate(run, [(run.boundary(3), query)])

    assert found.cluster is not None
    assert found.cluster.tolist() == [0, 1, 1, 2, 3, 3]
    assert not found.jackknife
    assert evaluate(run, [(run.boundary(3), make_query(data))])[0].cluster is None


def test_metrics_say_that_their_values_are_of_all_examples(run: Run, data: str) -> None:
    query = make_query(data, kind="ece", bins=5, better="lower")

    assert evaluate(run, [(run.boundary(3), query)])[0].jackknife


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "accuracy_gap", "group": "share"}, "one text or whole number"),
        ({"kind": "accuracy_gap"}, "the column whose values are compared"),
        ({"kind": "accuracy_gap", "group": "source",
          "where": {"column": "source", "equals": "a"}}, "found 0 in group b"),
        ({"kind": "accuracy_gap", "group": "clinic", "groups": (2,)}, "found one: 2"),
        ({"kind": "auroc", "class": 1, "where": {"column": "label", "equals": 1}},
         "at least two negative examples"),
        ({"kind": "auroc"}, "Say which class"),
        ({"cluster": "share"}, "q'.cluster"),
        ({"mask": "mask"}, "one target for each example"),
    ],
)  # fmt: skip
def test_query_without_a_value_is_refused_by_name(
    run: Run, data: str, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(QueryError, match=message):
        evaluate(run, [(run.boundary(3), make_query(data, **changes))])


def test_too_many_groups_are_refused(run: Run) -> None:
    examples = MAX_GROUPS + 1
    columns = make_columns(
        examples, generator=torch.Generator().manual_seed(5), dtype=torch.float64
    )
    columns["one each"] = torch.arange(examples)
    dataset = write_dataset(columns, blobs=run.blobs)
    data = run.blobs.write(canonical_bytes(EvaluationSet(name="many", dataset=dataset)))

    with pytest.raises(QueryError, match=f"at most {MAX_GROUPS} groups"):
        query_examples(run, make_query(data, kind="accuracy_gap", group="one each"))


def test_positions_that_do_not_count_do_not_matter() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    target = torch.tensor([[1, 2, 0], [3, 0, 0]])
    counts = torch.tensor([[True, True, False], [True, False, False]])
    broken = logits.clone()
    broken[1, 2] = torch.inf  # whatever stands there

    rows = -torch.log_softmax(logits, dim=-1).gather(-1, target[..., None]).squeeze(-1)
    loss = query_values(make_query("0" * 64), broken, target, counts=counts)
    likelihood = query_values(
        make_query("0" * 64, kind="log_likelihood"), broken, target, counts=counts
    )

    torch.testing.assert_close(loss, torch.stack([rows[0, :2].mean(), rows[1, 0]]))
    torch.testing.assert_close(likelihood, -torch.stack([rows[0, :2].sum(), rows[1, 0]]))
