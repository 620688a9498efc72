"""The list of estimators is that of the registry."""

import json

import pytest

from auditor.estimators.registry import KINDS
from service.cli.estimators import estimators


def listed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    estimators(as_json=True)
    rows: list[dict[str, object]] = json.loads(capsys.readouterr().out)["estimators"]
    return rows


def test_every_estimator_is_listed_after_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert [row["id"] for row in listed(capsys)] == ["default", *(kind.id for kind in KINDS)]


def test_the_default_says_what_it_stands_for(capsys: pytest.CaptureFixture[str]) -> None:
    default, auto = listed(capsys)[:2]

    assert "auto" in str(default["answers"])
    assert default["level"] == auto["level"]


def test_estimators_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    estimators(as_json=False)

    assert "subsampled_replay" in capsys.readouterr().out
