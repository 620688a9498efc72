"""The demo fails when its claims do."""

import pytest

from auditor.effects import Effect
from service.demo.claims import ComparedRow, check_claims, compare
from service.demo.truth import CUE, EffectName
from tests.support.reports import make_effect


def make_rows(
    *, pretrain: float = 0.1, vendor: float = 3.0, truth: float = 2.9
) -> tuple[ComparedRow, ...]:
    effects: list[Effect] = []
    exact: dict[EffectName, float] = {}
    for stage, value in (("pretrain", pretrain), ("vendor", vendor), ("finetune", -0.2)):
        effects.append(
            make_effect(
                query=CUE,
                kind="replace",
                stage=stage,
                value=value,
                low=value - 0.3,
                high=value + 0.3,
            )
        )
        exact[CUE, "replace", stage] = truth if stage == "vendor" else 0.0
    return compare(effects, exact)


def test_claims_hold_when_the_vendor_stands_out_and_truth_is_inside() -> None:
    assert all(claim.holds for claim in check_claims(make_rows()))


@pytest.mark.parametrize(
    ("rows", "failing"),
    [
        (make_rows(pretrain=1.1), 0),
        (make_rows(pretrain=-1.1), 0),
        (make_rows(vendor=-3.0, truth=-2.9), 0),
        (make_rows(truth=2.6), 1),
        (make_rows(truth=3.4), 1),
    ],
)
def test_claims_fail_one_by_one(rows: tuple[ComparedRow, ...], failing: int) -> None:
    claims = check_claims(rows)

    assert not claims[failing].holds


def test_row_without_an_interval_holds_nothing() -> None:
    row = ComparedRow(effect=make_effect(low=None, high=None), truth=0.25)

    assert not row.inside
