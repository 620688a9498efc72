import pytest
import torch
from torch import Tensor
from torch.nn import functional

from auditor.effects import Query
from auditor.errors import QueryError, UnsupportedError
from auditor.model.queries import class_count, query_values, require_targets

LOGITS = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGET = torch.tensor([0, 3, 1, 1, 2])
ROWS = torch.arange(5)
ODDS = LOGITS[:, :1]
BINARY = torch.tensor([0, 1, 1, 0, 1])


def make_query(kind: str, class_: int | None = None) -> Query:
    return Query(name="q", kind=kind, better="lower", data="0" * 64, class_=class_)


def margin_by_hand(logits: Tensor, target: Tensor) -> Tensor:
    """Return log(p / (1 - p)): the logit minus the log-sum-exp of the others."""
    p = functional.softmax(logits, dim=-1)[torch.arange(len(target)), target]
    return torch.log(p / (1 - p))


DIRECT = {
    "loss": functional.cross_entropy(LOGITS, TARGET, reduction="none"),
    "logit": LOGITS[ROWS, TARGET],
    "margin": margin_by_hand(LOGITS, TARGET),
    "probability": functional.softmax(LOGITS, dim=-1)[ROWS, TARGET],
    "accuracy": (LOGITS.argmax(dim=-1) == TARGET).double(),
}


@pytest.mark.parametrize("kind", DIRECT)
def test_value_of_own_target_equals_formula(kind: str) -> None:
    torch.testing.assert_close(query_values(make_query(kind), LOGITS, TARGET), DIRECT[kind])


@pytest.mark.parametrize("kind", ["logit", "margin", "probability"])
def test_value_of_a_class_ignores_targets(kind: str) -> None:
    same = torch.full((5,), 2)

    torch.testing.assert_close(
        query_values(make_query(kind, 2), LOGITS, TARGET),
        query_values(make_query(kind), LOGITS, same),
    )


BINARY_DIRECT = {
    "loss": functional.binary_cross_entropy_with_logits(
        ODDS.squeeze(-1), BINARY.double(), reduction="none"
    ),
    "logit": ODDS.squeeze(-1) * (2 * BINARY - 1),
    "margin": ODDS.squeeze(-1) * (2 * BINARY - 1),
    "probability": torch.sigmoid(ODDS.squeeze(-1) * (2 * BINARY - 1)),
    "accuracy": ((ODDS.squeeze(-1) > 0).long() == BINARY).double(),
}


@pytest.mark.parametrize("kind", BINARY_DIRECT)
@pytest.mark.parametrize("output", [ODDS, ODDS.squeeze(-1)], ids=["[N, 1]", "[N]"])
def test_single_output_is_log_odds(kind: str, output: Tensor) -> None:
    torch.testing.assert_close(query_values(make_query(kind), output, BINARY), BINARY_DIRECT[kind])


def test_margin_has_second_derivatives_under_vmap() -> None:
    def total(logits: Tensor) -> Tensor:
        return query_values(make_query("margin"), logits, TARGET).sum()

    hessian = torch.func.hessian(total)(LOGITS).reshape(20, 20)
    lanes = torch.func.vmap(torch.func.grad(total))(torch.stack([LOGITS, LOGITS]))

    assert torch.isfinite(hessian).all()
    torch.testing.assert_close(lanes[1], torch.func.grad(total)(LOGITS))


def test_class_out_of_range_is_named_with_the_number_of_classes() -> None:
    with pytest.raises(QueryError, match=r"4 classes, from 0 to 3, found class 4"):
        query_values(make_query("margin", 4), LOGITS, TARGET)


@pytest.mark.parametrize("kind", ["loss", "accuracy"])
def test_class_without_meaning_is_refused(kind: str) -> None:
    with pytest.raises(QueryError, match="no class for kind"):
        query_values(make_query(kind, 1), LOGITS, TARGET)


@pytest.mark.parametrize("target", [[0, 4], [0, -1], [0.0, 0.5]])
def test_target_out_of_range_is_named(target: list[float]) -> None:
    with pytest.raises(QueryError, match=r"label\[1\]: expected one of 4 classes"):
        require_targets(make_query("loss"), torch.tensor(target), classes=4)


def test_target_of_several_columns_is_refused() -> None:
    with pytest.raises(QueryError, match="one class per example"):
        require_targets(make_query("loss"), TARGET.reshape(5, 1), classes=4)


def test_target_does_not_matter_when_the_class_is_given() -> None:
    require_targets(make_query("margin", 1), torch.tensor([9]), classes=4)

    assert class_count(make_query("margin", 1), (7, 4)) == 4


@pytest.mark.parametrize("kind", ["loss", "accuracy"])
def test_values_are_averaged_over_the_tokens_of_an_example(kind: str) -> None:
    logits, target = LOGITS[:4].reshape(2, 2, 4), TARGET[:4].reshape(2, 2)

    values = query_values(make_query(kind), logits, target)

    torch.testing.assert_close(values, DIRECT[kind][:4].reshape(2, 2).mean(dim=1))


@pytest.mark.parametrize("kind", ["margin", "probability", "logit"])
def test_output_per_token_is_refused_where_no_average_is_meant(kind: str) -> None:
    with pytest.raises(UnsupportedError, match=r"logits \[N, C\]"):
        query_values(make_query(kind), LOGITS[:4].reshape(2, 2, 4), TARGET[:2])


def test_target_per_token_needs_the_positions_of_the_output() -> None:
    target = TARGET[:4].reshape(2, 2)
    require_targets(make_query("loss"), target, classes=4, positions=(2,))

    with pytest.raises(QueryError, match=r"each of \[3\] positions"):
        require_targets(make_query("loss"), target, classes=4, positions=(3,))
    with pytest.raises(QueryError, match=r"label\[0, 1\]: expected one of 3 classes"):
        require_targets(make_query("loss"), target, classes=3, positions=(2,))
