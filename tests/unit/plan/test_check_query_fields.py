"""Settings that a kind of query lacks or does not know are refused by name."""

import pytest

from auditor.audit.check import check_request
from auditor.effects import Tool, ToolFile
from auditor.errors import AuditorError, InputError, QueryError, UnsupportedError
from auditor.estimators.aa_score import AaScoreSettings
from auditor.stagelog.dataset import Column
from tests.support.manifests import make_log, make_probe, make_query, make_request, make_sets
from tests.support.manifests import with_output as output_of

TOOL = Tool(name="t", command=("x",), files=(ToolFile(name="x", digest="0" * 64),))
OUTSIDE = {"kind": "outside", "data": None, "tool": TOOL}
COLUMNS = {
    "clinic": Column(dtype="int64"),
    "share": Column(dtype="float32"),
    "one": Column(dtype="int32", categories=("only",)),
    "mask": Column(dtype="uint8", shape=(7,)),
    "tokens": Column(dtype="int64", shape=(7,)),
}


def check(log=None, **changes) -> None:
    request = make_request(queries=(make_query(**changes),))
    check_request(request, log or make_log(), make_sets(**COLUMNS))


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "auroc", "class": 1},
        {"kind": "ece"},
        {"kind": "ece", "class": 2, "bins": 10},
        {"kind": "accuracy_gap", "group": "source"},
        {"kind": "accuracy_gap", "group": "clinic", "groups": (1, 2)},
        {"kind": "demographic_parity", "class": 0, "group": "source", "target": "absent"},
        {"kind": "equalised_odds", "class": 0, "group": "source", "groups": ("own", "vendor")},
        {"kind": "worst_group", "group": "source", "measure": "loss"},
        {"kind": "score", "class": 2, "unit": "toxicity", "target": "absent"},
        {"kind": "perplexity", "cluster": "clinic"},
        {"kind": "metric", "metric": "9" * 64},
        OUTSIDE,
    ],
)
def test_check_accepts_every_kind(changes):
    check(**changes)


@pytest.mark.parametrize(
    ("changes", "where", "error"),
    [
        ({"kind": "auroc"}, "class", QueryError),
        ({"kind": "score"}, "class", QueryError),
        ({"kind": "score", "class": 3}, "class", QueryError),
        ({"kind": "accuracy_gap"}, "group", QueryError),
        ({"kind": "accuracy_gap", "group": "absent"}, "group", InputError),
        ({"kind": "accuracy_gap", "group": "share"}, "group", QueryError),
        ({"kind": "accuracy_gap", "group": "one"}, "group", QueryError),
        ({"kind": "accuracy_gap", "group": "source", "groups": ("own",)}, "groups", QueryError),
        (
            {"kind": "accuracy_gap", "group": "source", "groups": ("own", "own")},
            "groups",
            QueryError,
        ),
        (
            {"kind": "accuracy_gap", "group": "source", "groups": ("own", "acme")},
            "groups.source",
            InputError,
        ),
        ({"kind": "loss", "group": "source"}, "group", QueryError),
        ({"kind": "loss", "bins": 3}, "bins", QueryError),
        ({"kind": "loss", "measure": "loss"}, "measure", QueryError),
        ({"kind": "loss", "unit": "cents"}, "unit", QueryError),
        ({"kind": "loss", "cluster": "share"}, "cluster", QueryError),
        ({"kind": "loss", "mask": "clinic"}, "mask", QueryError),
        ({"kind": "margin", "mask": "mask"}, "mask", QueryError),
        ({"kind": "metric"}, "metric", QueryError),
        ({"kind": "ece", "reduction": "none"}, "reduction", QueryError),
        ({"kind": "outside", "data": None}, "tool", QueryError),
        (OUTSIDE | {"cluster": "clinic"}, "cluster", QueryError),
    ],
)
def test_check_refuses_settings_by_name(changes, where, error):
    with pytest.raises(error) as caught:
        check(**changes)

    assert caught.value.where == f"queries[0].{where}"
    assert caught.value.remedy


def test_two_classes_need_not_be_told():
    for shape in (("B",), ("B", 1), ("B", 2)):
        log = output_of(make_log(), *shape)
        check(log, kind="auroc")
        check(log, kind="demographic_parity", group="source")
    check(output_of(make_log(), "B", 1), kind="score")


def test_masks_fit_the_positions_of_tokens():
    log = output_of(make_log(), "B", 7, 3)

    check(log, kind="log_likelihood", target="tokens", mask="mask")
    with pytest.raises(AuditorError, match="log-odds"):
        check(log, kind="auroc", target="tokens", **{"class": 1})


def test_probes_of_metrics_pair_and_of_outside_tools_do_not():
    of = make_query(kind="auroc", **{"class": 1})
    check_request(
        make_request(queries=(make_probe().model_copy(update={"of": of}),)),
        make_log(),
        make_sets(),
    )

    probe = make_probe().model_copy(update={"of": make_query(**OUTSIDE)})
    with pytest.raises(ValueError, match="an outside tool has no treated and control set"):
        make_request(queries=(probe,))


def test_data_belongs_to_every_kind_but_outside():
    with pytest.raises(ValueError, match="`data`"):
        make_query(data=None)
    with pytest.raises(ValueError, match="`data`"):
        make_query(kind="outside", tool=TOOL)


def test_aa_score_takes_perplexity_and_no_gaps():
    asked = {"kind": "perplexity"}
    check_request(
        make_request(queries=(make_query(**asked),), estimator=AaScoreSettings()),
        make_log(),
        make_sets(),
    )
    gap = make_query(kind="accuracy_gap", group="source")
    with pytest.raises(UnsupportedError, match="a query with a gradient"):
        check_request(
            make_request(queries=(gap,), estimator=AaScoreSettings()), make_log(), make_sets()
        )
