"""The table of estimators agrees with what the planner accepts."""

import json
from typing import get_args

import pytest
import typer

from auditor.plan.check import REQUIRED_LEVEL
from auditor.plan.settings import EstimatorSettings
from service.cli.estimators import ESTIMATORS, estimators, known_estimator


def test_estimators_lists_every_public_estimator_once() -> None:
    union = get_args(get_args(EstimatorSettings)[0])
    accepted = {settings.model_fields["id"].default for settings in union}

    assert sorted(row.id for row in ESTIMATORS) == sorted(accepted)


@pytest.mark.parametrize("row", ESTIMATORS, ids=lambda row: row.id)
def test_estimators_states_the_level_the_planner_asks_for(row: object) -> None:
    identifier = "auto" if row.id == "default" else row.id

    assert row.level == REQUIRED_LEVEL[identifier]


def test_estimator_that_does_not_exist_is_refused() -> None:
    assert known_estimator("auto") == "auto"
    with pytest.raises(typer.BadParameter, match="'guess' is not one of default, auto"):
        known_estimator("guess")


def test_estimators_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    estimators(as_json=True)

    assert json.loads(capsys.readouterr().out)["estimators"][0]["id"] == "default"


def test_estimators_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    estimators(as_json=False)

    assert "subsampled_replay" in capsys.readouterr().out
