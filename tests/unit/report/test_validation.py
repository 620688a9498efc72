"""What a report says of its estimator's validation, inside and outside of what was compared."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.estimators.dossier import Dossier, Regime, Validated, ValidatedTraining
from auditor.report.validation import validation_of
from auditor.stagelog.digest import sha256


def make_regime(**changes: Any) -> Regime:
    values: dict[str, Any] = {
        "optimizers": ("sgd",),
        "losses": ("cross_entropy",),
        "stages": 3,
        "steps": 200,
        "parameters": 1000,
        "effective_rate": 0.2,
    }
    return Regime(**(values | changes))


def make_dossier() -> Dossier:
    adam = make_regime(optimizers=("adamw",), steps=5000, parameters=9000, effective_rate=0.001)
    return Dossier(
        table=sha256(b"table"),
        measured="stageaudit 0.1.0, torch 2.13.0",
        trainings=(
            ValidatedTraining(workload="digits", regime=make_regime()),
            ValidatedTraining(workload="sentences", regime=adam),
        ),
        estimators=(
            Validated(
                estimator="auto", trainings=("digits", "sentences"), rows=50, exact=30,
                intervals=20, covered=19, called=8, wrong_sign=1,
            ),
            Validated(
                estimator="retrain", trainings=("digits",), rows=30, exact=30,
                intervals=0, covered=0, called=0, wrong_sign=0,
            ),
        ),
    )  # fmt: skip


def outside(**changes: Any) -> tuple[str, ...]:
    found = validation_of("auto", make_regime(**changes), dossier=make_dossier())
    return found.outside


def test_the_record_is_stated_with_what_was_not_compared() -> None:
    found = validation_of("auto", make_regime(), dossier=make_dossier())

    assert found.statement == (
        "auto was compared with exact retraining on 50 effects of 2 trainings, of which 30 are "
        "exact by construction; of the other intervals 19 of 20 hold the true mean, and 1 of 8 "
        "signs that were called are wrong. This training lies within them in optimizer, loss, "
        "stages, steps, parameters and learning rate; sharpness, on which errors depend most, was "
        "not compared."
    )
    assert found.table == sha256(b"table")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"optimizers": ("lion",)}, "optimizer lion, not compared"),
        (
            {"optimizers": ("adamw", "sgd")},
            "adamw and sgd and cross_entropy in one training, not compared",
        ),
        ({"losses": ("dpo",)}, "loss dpo, not compared"),
        ({"stages": 4}, "4 stages, compared up to 3"),
        ({"steps": 201}, "201 steps, compared up to 200"),
        ({"parameters": 10**9}, "1000000000 parameters, compared up to 1000"),
        ({"effective_rate": 0.3}, "effective learning rate 0.3, compared up to 0.2"),
        ({"effective_rate": None}, "effective learning rate unknown, compared up to 0.2"),
    ],
)
def test_each_way_of_lying_outside_is_named(changes: dict[str, Any], text: str) -> None:
    assert outside(**changes) == (text,)


def test_runs_of_one_optimizer_say_nothing_of_another() -> None:
    assert outside(optimizers=("adamw",), steps=4000, effective_rate=0.001) == ()
    assert outside(optimizers=("sgd",), steps=4000) != ()


@given(st.integers(1, 300), st.integers(1, 2000), st.floats(1e-6, 1))
def test_what_is_smaller_than_something_inside_is_inside(
    steps: int, parameters: int, rate: float
) -> None:
    smaller = make_regime(
        steps=max(steps // 2, 1), parameters=max(parameters // 2, 1), effective_rate=rate / 2
    )
    if not outside(steps=steps, parameters=parameters, effective_rate=rate):
        found = validation_of("auto", smaller, dossier=make_dossier())
        assert found.outside == ()


def test_an_estimator_without_rows_is_not_validated_anywhere() -> None:
    found = validation_of("settle", make_regime(), dossier=make_dossier())

    assert found.table is None
    assert found.statement == (
        "settle was never compared with exact retraining; not validated for this training."
    )
