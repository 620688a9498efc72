"""What counts as accepted, and as beyond the tolerance."""

import pytest

from auditor.effects import Better, Effect, Verdict
from benchmarks.fidelity.acceptance import acceptance
from benchmarks.fidelity.estimates import Answer, Estimate
from benchmarks.fidelity.interventions import Asked


def estimate(value: float | None, *, label: str, exact: bool = False) -> Estimate:
    effect = Effect(
        query="loss",
        unit="nat",
        better=Better.LOWER,
        intervention=label,
        kind="skip",
        stage="one",
        value=value,
        verdict=Verdict.NOT_RESOLVED,
        n=4,
        exact_by_construction=exact,
        statement="",
        action_keys=(),
    )
    return Estimate(asked=Asked(kind="skip", stage="one"), effect=effect, per_example=None)


@pytest.mark.parametrize(
    ("value", "truth", "beyond"),
    [(0.5, 0.54, 0), (0.5, 0.56, 1), (3.0, 3.14, 0), (3.0, 3.16, 1), (-3.0, -3.14, 0)],
)
def test_a_tolerance_is_relative_above_one(value: float, truth: float, beyond: int) -> None:
    answer = Answer(estimates=(estimate(value, label="a"),), tolerances={"a": 0.05})

    assert acceptance(answer, lambda _: truth) == {
        "accepted": 1,
        "beyond": beyond,
        "unresolved": 0,
    }


def test_what_is_exact_does_not_count_and_what_is_not_kept_is_unresolved() -> None:
    estimates = (
        estimate(1.0, label="a", exact=True),
        estimate(1.0, label="b"),
        estimate(None, label="a"),
    )
    answer = Answer(estimates=estimates, tolerances={"a": 0.05, "b": None})

    assert acceptance(answer, lambda _: 9.0) == {"accepted": 0, "beyond": 0, "unresolved": 2}


def test_without_a_tolerance_nothing_is_accepted() -> None:
    assert acceptance(Answer(estimates=(estimate(1.0, label="a"),)), lambda _: 1.0) is None
