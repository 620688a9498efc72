"""Requests that cannot be answered are refused by field, with what to do."""

import re

import pytest

from auditor.audit.check import check_request
from auditor.effects import Where
from auditor.errors import (
    AuditorError,
    InputError,
    PreconditionError,
    QueryError,
    UnsupportedError,
)
from auditor.estimators.aa_score import AaScoreSettings
from auditor.estimators.retrain import RetrainSettings
from auditor.estimators.task_vector import TaskVectorSettings
from auditor.plan.request import Change, Intervention, Joint, Reference, Selection, StepWindow
from auditor.stagelog.dataset import Column, Coverage, EvaluationSet
from auditor.stagelog.log import Bindings
from tests.support.manifests import (
    COLUMNS,
    CONTROL,
    DATA,
    make_dataset,
    make_log,
    make_probe,
    make_query,
    make_request,
    make_sets,
    make_stage,
    replace_by_held_out,
    with_output,
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
            Intervention(
                kind="drop", stage="stage1", where=Selection(columns={"source": ("own", "vendor")})
            ),
            "interventions[0].where",
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
            Intervention(kind="change", stage="stage1"),
            "interventions[0].hyperparameters",
            InputError,
        ),
        (
            Intervention(kind="change", stage="stage1", hyperparameters={"beta1": Change(value=0)}),
            "interventions[0].hyperparameters.beta1",
            InputError,
        ),
        (
            Intervention(kind="skip", stage="stage1", hyperparameters={"lr": Change(scale=0.5)}),
            "interventions[0].hyperparameters",
            InputError,
        ),
        (
            Joint(
                parts=(
                    Intervention(kind="skip", stage="stage0"),
                    FADE.model_copy(update={"alpha": None}),
                )
            ),
            "interventions[0].parts[1].alpha",
            InputError,
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
        (make_query(target="answer"), "queries[0].target"),
        (make_query(output=1), "queries[0].output"),
        (make_query(inputs={"tokens": "image"}), "queries[0].inputs.tokens"),
        (make_query(inputs={"x": "image", "y": "image"}), "queries[0].inputs.y"),
        (make_query(inputs={"x": "label"}), "queries[0].data.label"),
        (make_query(target="image"), "queries[0].target"),
        (make_query(target="source"), "queries[0].target"),
        (make_query(**{"class": 0}), "queries[0].class"),
        (make_query(**{"class": 0, "kind": "accuracy"}), "queries[0].class"),
        (make_query(where=Where(column="colour", equals="red")), "queries[0].where.colour"),
        (make_query(where=Where(column="image", equals=1)), "queries[0].where.image"),
        (make_query(where=Where(column="label", equals="one")), "queries[0].where.label"),
        (make_query(where=Where(column="source", equals=1)), "queries[0].where.source"),
        (make_query(where=Where(column="source", equals="acme")), "queries[0].where.source"),
    ],
)
def test_check_refuses_queries_by_field(query, where):
    with pytest.raises(AuditorError) as caught:
        check_request(make_request(queries=(query,)), make_log(), make_sets())

    assert caught.value.where == where


@pytest.mark.parametrize(
    ("outputs", "classes"), [(("B", 3), 3), (("B", 1), 2), (("B",), 2)], ids=["3", "1", "none"]
)
def test_check_names_the_number_of_classes(outputs, classes):
    log = with_output(make_log(), *outputs)
    asked = {"kind": "probability", "class": classes - 1}
    check_request(make_request(queries=(make_query(**asked),)), log, make_sets())

    query = make_query(**asked | {"class": classes})
    with pytest.raises(QueryError, match=f"a class from 0 to {classes - 1}, found {classes}"):
        check_request(make_request(queries=(query,)), log, make_sets())


def test_check_refuses_outputs_that_are_no_row_of_logits():
    log = with_output(make_log(), "B", 7, 3)
    query = make_query(kind="margin")

    with pytest.raises(UnsupportedError, match="log-odds") as caught:
        check_request(make_request(queries=(query,)), log, make_sets())

    assert caught.value.where == "queries[0].output"


def test_check_wants_a_class_per_position_for_outputs_per_position():
    log = with_output(make_log(), "B", 7, 3)
    tokens = Column(dtype="int64", shape=(7,))

    check_request(make_request(), log, make_sets(label=tokens))
    with pytest.raises(QueryError, match=r"one class per position.*found shape \[\]"):
        check_request(make_request(), log, make_sets())


def test_check_needs_no_target_for_one_class():
    query = make_query(**{"kind": "margin", "class": 0, "target": "absent"})

    check_request(make_request(queries=(query,)), make_log(), make_sets())


def test_check_refuses_a_target_that_numbers_classes_in_another_order():
    trained = Column(dtype="int32", categories=("cat", "dog"))
    log = make_log(datasets={"train": make_dataset(columns=COLUMNS | {"label": trained})})
    swapped = make_sets(label=Column(dtype="int32", categories=("dog", "cat")))

    check_request(make_request(), log, make_sets(label=trained))
    with pytest.raises(QueryError, match="cat, dog, found dog, cat") as caught:
        check_request(make_request(), log, swapped)

    assert caught.value.where == "queries[0].target"


IDS = Column(dtype="int64")


@pytest.mark.parametrize(
    ("treated", "control", "where"),
    [
        (IDS, None, "queries[0].control"),
        (None, IDS, "queries[0].treated"),
        (IDS, Column(dtype="int32", categories=("a", "b")), "queries[0].control.id"),
        (Column(dtype="float32"), Column(dtype="float32"), "queries[0].of.data.id"),
        (Column(dtype="int64", shape=(2,)),) * 2 + ("queries[0].of.data.id",),
    ],
    ids=["treated only", "control only", "other texts", "fractions", "several"],
)
def test_check_refuses_probes_whose_rows_cannot_be_paired(treated, control, where):
    sets = {
        DATA: make_sets(**{} if treated is None else {"id": treated})[DATA],
        CONTROL: make_sets(**{} if control is None else {"id": control})[CONTROL],
    }

    with pytest.raises(QueryError) as caught:
        check_request(make_request(queries=(make_probe(),)), make_log(), sets)

    assert caught.value.where == where
    assert caught.value.remedy


def test_check_accepts_probes_with_ids_of_one_kind():
    check_request(make_request(queries=(make_probe(),)), make_log(), make_sets(id=IDS))


def test_check_refuses_a_reference_without_the_stages_weights():
    weighted = Bindings(inputs={"x": "image"}, target="label", weight="importance")
    columns = COLUMNS | {"importance": Column(dtype="float64")}
    log = make_log(
        *(make_stage(index, bindings=weighted) for index in range(3)),
        datasets={"train": make_dataset(columns=columns)},
    )
    request = make_request(interventions=(replace_by_held_out("stage1"),))

    with pytest.raises(InputError, match="a column 'importance' in 'held-out'"):
        check_request(request, log, make_sets())


def test_check_refuses_a_reference_whose_codes_mean_other_texts():
    trained = Column(dtype="int32", categories=("cat", "dog"))
    log = make_log(datasets={"train": make_dataset(columns=COLUMNS | {"label": trained})})
    sets = make_sets(label=trained)
    sets["e" * 64] = make_sets(label=Column(dtype="int32", categories=("dog", "cat")))[DATA]
    reference = Reference(data="e" * 64)
    intervention = Intervention(kind="replace", stage="stage1", reference=reference)

    with pytest.raises(InputError, match="categories of the training data") as caught:
        check_request(make_request(interventions=(intervention,)), log, sets)

    assert caught.value.where == "interventions[0].reference.label"


def test_check_refuses_data_of_which_only_hashes_were_kept():
    hashes = make_dataset(shards=(), coverage=Coverage(kind="hashes"))
    log = make_log(datasets={"train": make_dataset(), "gone": hashes})
    reference = Reference(dataset="gone")
    intervention = Intervention(kind="replace", stage="stage1", reference=reference)
    sets = {DATA: EvaluationSet(name="held-out", dataset=hashes)}

    with pytest.raises(PreconditionError) as by_reference:
        check_request(make_request(interventions=(intervention,)), log, make_sets())
    with pytest.raises(PreconditionError) as by_query:
        check_request(make_request(), log, sets)

    assert by_reference.value.where == "interventions[0].reference.dataset"
    assert by_query.value.where == "queries[0].data"


@pytest.mark.parametrize(
    ("selection", "where"),
    [
        ({"source": ("vendor",)}, None),
        ({"source": ("own", "vendor")}, None),
        ({"source": ("acme",)}, "interventions[0].where.source"),
        ({"licence": ("open",)}, "interventions[0].where.licence"),
        ({"image": (1,)}, "interventions[0].where.image"),
        ({}, "interventions[0].where"),
    ],
    ids=["of one", "of both", "of none", "column of none", "several values", "no column"],
)
def test_check_drops_from_a_mixture_what_one_of_its_datasets_holds(selection, where):
    columns = {name: COLUMNS[name] for name in ("image", "label")}
    datasets = {
        "own": make_dataset(
            columns=columns | {"source": Column(dtype="int32", categories=("own",))}
        ),
        "bought": make_dataset(
            columns=columns | {"source": Column(dtype="int32", categories=("vendor",))}
        ),
        "plain": make_dataset(columns=columns),
    }
    log = make_log(*(make_stage(i, datasets=tuple(datasets)) for i in range(3)), datasets=datasets)
    drop = Intervention(kind="drop", stage="stage1", where=Selection(columns=selection))

    if where is None:
        check_request(make_request(interventions=(drop,)), log, make_sets())
        return
    with pytest.raises(InputError) as caught:
        check_request(make_request(interventions=(drop,)), log, make_sets())
    assert caught.value.where == where


def test_check_says_what_a_log_of_level_0_lacks():
    stages = tuple(make_stage(index, schedule=None, batches=None) for index in range(2))

    with pytest.raises(PreconditionError, match=r"level 0, without stages\[0\]\.schedule"):
        check_request(make_request(estimator=RetrainSettings()), make_log(*stages), make_sets())


@pytest.mark.parametrize(
    ("changes", "lacking"),
    [
        ({"batches": None}, r"stages[1].batches"),
        ({"datasets": ("train", "part")}, r'all examples of datasets["part"]'),
    ],
    ids=["batches", "data"],
)
def test_check_says_what_a_log_of_level_1_lacks(changes, lacking):
    part = make_dataset(coverage=Coverage(kind="sample", of=200, seed=0))
    log = make_log(
        make_stage(0), make_stage(1, **changes), datasets={"train": make_dataset(), "part": part}
    )

    with pytest.raises(PreconditionError, match=re.escape(f"level 1, without {lacking}")):
        check_request(make_request(), log, make_sets())


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


def test_references_that_differ_in_rows_or_order_are_different_interventions():
    references = (
        Reference(dataset="train"),
        Reference(dataset="train", order="recorded"),
        Reference(dataset="train", where=Selection(columns={"source": ("own",)})),
    )
    interventions = tuple(
        Intervention(kind="replace", stage="stage1", reference=reference)
        for reference in references
    )

    check_request(make_request(interventions=interventions), make_log(), make_sets())
