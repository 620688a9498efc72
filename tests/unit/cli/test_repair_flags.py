"""What the flags of ``stageaudit repair`` mean."""

from typing import Any

import pytest

from auditor.errors import InputError
from auditor.plan.repair import Goal
from auditor.plan.settings import FADE_LEVELS
from service.cli.repair_flags import RepairAsked, RepairFlags, parse_repair

QUERIES = {"queries": [{"name": "cue"}]}


def parse(document: dict[str, Any] | None = None, **flags: Any) -> RepairAsked:
    return parse_repair({**QUERIES, **(document or {})}, RepairFlags(**flags), log="0" * 64)


def test_one_flag_is_the_intervention_and_retraining_is_exact() -> None:
    asked = parse({"estimator": "aa_score"}, skip=("vendor",))

    assert asked.document["interventions"] == [{"kind": "skip", "stage": "vendor"}]
    assert asked.document["estimator"] == {"id": "retrain"}
    assert asked.search is None


def test_several_flags_are_one_joint_repair() -> None:
    asked = parse(skip=("a",), fade=("b=0.5",), replace=("c=" + "1" * 64,), drop=("d:source=x",))

    (joint,) = asked.document["interventions"]
    assert joint["kind"] == "joint"
    assert joint["parts"] == [
        {"kind": "skip", "stage": "a"},
        {"kind": "fade", "stage": "b", "alpha": 0.5},
        {"kind": "replace", "stage": "c", "reference": {"data": "1" * 64}},
        {"kind": "drop", "stage": "d", "where": {"source": "x"}},
    ]


def test_intervention_of_the_file_is_carried_out_without_flags() -> None:
    own = [{"kind": "skip", "stage": "tune"}]

    assert parse({"interventions": own}).document["interventions"] == own


def test_fade_without_a_level_is_searched_for() -> None:
    asked = parse(fade=("vendor",), until=("corner cue < 0.1",), keep=("accuracy > -1e-2",))

    assert asked.search == "vendor"
    assert [entry["alpha"] for entry in asked.document["interventions"]] == list(FADE_LEVELS)
    assert asked.goals == (
        Goal(query="corner cue", of="value", relation="<", bound=0.1),
        Goal(query="accuracy", of="change", relation=">", bound=-0.01),
    )


def test_fraction_means_subsampled_replay() -> None:
    asked = parse(skip=("a",), fraction=0.25)

    assert asked.document["estimator"] == {"id": "subsampled_replay", "fraction": 0.25}


@pytest.mark.parametrize(
    ("flags", "where"),
    [
        ({}, "interventions"),
        ({"fade": ("a",)}, "--fade"),
        ({"fade": ("a", "b"), "until": ("cue < 1",)}, "--fade"),
        ({"fade": ("a",), "skip": ("b",), "until": ("cue < 1",)}, "--fade"),
        ({"fade": ("a=much",)}, "--fade"),
        ({"skip": ("a",), "until": ("cue = 1",)}, "--until"),
        ({"skip": ("a",), "until": ("cue < 1e",)}, "--until"),
        ({"drop": ("a:source",)}, "--drop"),
        ({"replace": ("a",)}, "--replace"),
        ({"skip": ("a",), "fraction": 0.5, "estimator": "retrain"}, "--fraction"),
    ],
)
def test_flags_that_say_nothing_are_refused(flags: dict[str, Any], where: str) -> None:
    with pytest.raises(InputError) as refused:
        parse(**flags)

    assert refused.value.where == where
