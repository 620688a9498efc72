"""Options of a loss: each belongs to some kinds, and some kinds need them."""

from typing import Any

import pytest

from auditor.errors import StageLogError
from auditor.stagelog.log import Loss
from auditor.stagelog.precision import lower_precision, parameter_precision
from auditor.stagelog.reduction import declared_loss, divides_by_targets
from auditor.stagelog.validate import validate
from tests.support.manifests import make_log, make_stage

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"kind": "mse", "beta": 0.1}, "beta"),
    ({"kind": "cross_entropy", "pos_weight": (1.0,)}, "pos_weight"),
    ({"kind": "mse", "reference": "fixed"}, "reference"),
    ({"kind": "own", "graph": "7" * 64}, "graph"),
    ({"kind": "dpo", "reference": "fixed"}, "beta"),
    ({"kind": "dpo", "beta": 0.1}, "reference"),
    ({"kind": "dpo", "beta": 0.1, "reference": "fixed", "label_smoothing": 0.5}, "label_smoothing"),
    ({"kind": "graph"}, "graph"),
    ({"kind": "causal_lm", "ignore_index": -100}, "over"),
    ({"kind": "binary_cross_entropy_with_logits", "pos_weight": (1.0, -1.0)}, "pos_weight[1]"),
]


@pytest.mark.parametrize(("loss", "field"), REFUSED, ids=str)
def test_options_that_do_not_fit_are_refused(loss: dict[str, Any], field: str) -> None:
    with pytest.raises(StageLogError) as caught:
        validate(make_log(make_stage(0, loss=loss)))

    assert caught.value.where == f"stages[0].loss.{field}"


@pytest.mark.parametrize("kind", ["cross_entropy", "mse", "causal_lm", "dpo"])
def test_a_kind_alone_stands_for_a_whole_loss(kind: str) -> None:
    validate(make_log(make_stage(0, loss=declared_loss(kind).model_dump())))


@pytest.mark.parametrize(
    ("options", "uneven"),
    [
        ({"kind": "cross_entropy"}, False),
        ({"kind": "cross_entropy", "ignore_index": -100}, True),
        ({"kind": "cross_entropy", "ignore_index": -100, "reduction": "sum"}, False),
        ({"kind": "cross_entropy", "class_weights": (1.0, 2.0)}, True),
        ({"kind": "causal_lm", "over": "tokens"}, True),
        ({"kind": "dpo", "beta": 0.1, "ignore_index": -100}, False),
        ({"kind": "mse"}, False),
    ],
    ids=str,
)
def test_which_means_are_divided_by_their_targets(options: dict[str, Any], uneven: bool) -> None:
    assert divides_by_targets(Loss(**options)) is uneven


@pytest.mark.parametrize("lower", ["bfloat16", "float16"])
def test_precisions_of_autocast(lower: str) -> None:
    autocast = f"autocast {lower} over float32"

    assert (lower_precision(autocast), parameter_precision(autocast)) == (lower, "float32")
    assert (lower_precision("float64"), parameter_precision("float64")) == (None, "float64")
