"""Requests that cannot be answered are refused by field, with what to do."""

import pytest

from auditor.effects import Where
from auditor.errors import (
    AuditorError,
    InputError,
    PreconditionError,
    QueryError,
    UnsupportedError,
)
from auditor.plan.check import check_request
from auditor.plan.request import Intervention, Reference, Selection, StepWindow
from auditor.plan.settings import AaScoreSettings, RetrainSettings, TaskVectorSettings
from auditor.stagelog.dataset import Column
from tests.support.manifests import (
    DATA,
    make_log,
    make_probe,
    make_query,
    make_request,
    make_sets,
    make_stage,
    replace_by_held_out,
)

FADE = Intervention(kind="fade", stage="stage1", alpha=0.5)
DROP = Intervention(kind="drop", stage="stage1", where=Selection(columns={"source": ("vendor",)}))


@pytest.mark.parametrize(
    "request_",
    [
        make_request(),
        make_request(queries=(make_query(), make_probe())),
        make_request(interventions=(FADE, DROP, replace_by_held_out("stage1"))),
        make_request(interventions=(FADE,), estimator=AaScoreSettings()),
        make_request(estimator=TaskVectorSettings()),
        make_request(queries=(make_query(where=Where(column="source", equals="vendor")),)),
    ],
)
def test_check_accepts_what_can_be_answered(request_):
    assert check_request(request_, make_log(), make_sets()) is None


@pytest.mark.parametrize(
    ("intervention", "where", "error"),
    [
        (Intervention(kind="skip", stage="stage9"), "interventions[0].stage", InputError),
        (Intervention(kind="fade", stage="stage1"), "interventions[0].alpha", InputError),
        (Intervention(kind="replace", stage="stage1"), "interventions[0].reference", InputError),
        (Intervention(kind="drop", stage="stage1"), "interventions[0].where", InputError),
        (
            Intervention(kind="skip", stage="stage1", alpha=0.5),
            "interventions[0].alpha",
            InputError,
        ),
        (
            Intervention(kind="skip", stage="stage1", steps=StepWindow(first_step=5, end_step=12)),
            "interventions[0].steps",
            InputError,
        ),
        (
            Intervention(kind="skip", stage="stage1", steps=StepWindow(first_step=12, end_step=12)),
            "interventions[0].steps",
            InputError,
        ),
        (
            Intervention(kind="drop", stage="stage1", where=Selection(columns={"vendor": ("x",)})),
            "interventions[0].where.vendor",
            InputError,
        ),
        (
            Intervention(
                kind="drop", stage="stage1", where=Selection(columns={"source": ("acme",)})
            ),
            "interventions[0].where.source",
            InputError,
        ),
        (
            Intervention(kind="replace", stage="stage1", reference=Reference()),
            "interventions[0].reference",
            InputError,
        ),
        (
            Intervention(kind="replace", stage="stage1", reference=Reference(dataset="other")),
            "interventions[0].reference.dataset",
            InputError,
        ),
        (
            Intervention(kind="replace", stage="stage1", reference=Reference(data="b" * 64)),
            "interventions[0].reference.data",
            PreconditionError,
        ),
        (
            Intervention(kind="change", stage="stage1", hyperparameters={"lr": 0.1}),
            "interventions[0].kind",
            UnsupportedError,
        ),
    ],
)
def test_check_refuses_interventions_by_field(intervention, where, error):
    request = make_request(interventions=(intervention,))

    with pytest.raises(error) as caught:
        check_request(request, make_log(), make_sets())

    assert caught.value.where == where
    assert caught.value.remedy


def test_check_refuses_a_reference_whose_columns_do_not_fit():
    sets = make_sets(image=Column(dtype="float32", shape=(5,)))
    request = make_request(
        interventions=(replace_by_held_out("stage1"),), queries=(make_query(data="c" * 64),)
    )
    sets["c" * 64] = make_sets()[DATA]

    with pytest.raises(InputError, match=r"reference\.image: expected float32 of shape \[4\]"):
        check_request(request, make_log(), sets)


@pytest.mark.parametrize(
    ("query", "where"),
    [
        (make_query(**{"class": 3, "kind": "logit"}), "queries[0].class"),
        (make_query(data="b" * 64), "queries[0].data"),
        (make_query(target="answer"), "queries[0]"),
        (make_query(output=1), "queries[0].output"),
        (make_query(inputs={"tokens": "image"}), "queries[0].inputs"),
        (make_query(where=Where(column="source", equals="acme")), "queries[0].where.source"),
    ],
)
def test_check_refuses_queries_by_field(query, where):
    with pytest.raises(AuditorError) as caught:
        check_request(make_request(queries=(query,)), make_log(), make_sets())

    assert caught.value.where == where


def test_check_names_the_number_of_classes():
    query = make_query(**{"class": 7, "kind": "probability"})

    with pytest.raises(QueryError, match="a class from 0 to 2, found 7"):
        check_request(make_request(queries=(query,)), make_log(), make_sets())


def test_check_says_what_a_log_of_level_0_lacks():
    stages = tuple(make_stage(index, schedule=None, batches=None) for index in range(2))

    with pytest.raises(PreconditionError, match="found level 0"):
        check_request(make_request(estimator=RetrainSettings()), make_log(*stages), make_sets())


def test_check_allows_baseline_estimators_at_level_0():
    stages = tuple(make_stage(index, schedule=None, batches=None) for index in range(2))
    request = make_request(estimator=TaskVectorSettings())

    assert check_request(request, make_log(*stages), make_sets()) is None


@pytest.mark.parametrize("settings", [AaScoreSettings(), TaskVectorSettings()])
def test_check_refuses_interventions_an_estimator_does_not_treat(settings):
    request = make_request(interventions=(DROP,), estimator=settings)

    with pytest.raises(UnsupportedError):
        check_request(request, make_log(), make_sets())


def test_check_refuses_a_gradient_of_accuracy():
    request = make_request(queries=(make_query(kind="accuracy"),), estimator=AaScoreSettings())

    with pytest.raises(UnsupportedError, match="margin or probability"):
        check_request(request, make_log(), make_sets())


def test_check_refuses_the_same_name_twice():
    with pytest.raises(InputError, match="every entry once"):
        check_request(make_request(queries=(make_query(), make_query())), make_log(), make_sets())
