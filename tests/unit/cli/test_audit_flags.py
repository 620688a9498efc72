"""Flags to a request document."""

from pathlib import Path

import pytest

from auditor.errors import InputError
from service.cli.audit_flags import AuditFlags, apply_flags


def test_flags_alone_make_a_request_of_all_stages(tmp_path: Path) -> None:
    flags = AuditFlags(log=str(tmp_path), query="loss", data=str(tmp_path), better="lower")

    document = apply_flags({}, flags)

    assert document["interventions"] == "stages"
    assert document["log"] == str(tmp_path)
    assert document["queries"] == [
        {"name": "loss", "kind": "loss", "better": "lower", "data": str(tmp_path)}
    ]


def test_flags_override_the_file() -> None:
    document = {"seed": 1, "interventions": "stages", "estimator": "retrain"}
    flags = AuditFlags(seed=2, skip=("a",), drop=("b:source=x",), estimator="aa_score")

    changed = apply_flags(document, flags)

    assert changed["seed"] == 2
    assert changed["estimator"] == {"id": "aa_score"}
    assert changed["interventions"] == [
        {"kind": "skip", "stage": "a"},
        {"kind": "drop", "stage": "b", "where": {"source": "x"}},
    ]
    assert document["seed"] == 1


def test_replicas_turn_the_default_into_what_it_stands_for() -> None:
    changed = apply_flags({}, AuditFlags(replicas=3))

    assert changed["estimator"] == {"id": "subsampled_replay", "replicas": 3}


def test_fraction_keeps_other_settings_of_the_file() -> None:
    document = {"estimator": {"id": "subsampled_replay", "replicas": 3}}

    changed = apply_flags(document, AuditFlags(fraction=0.25))

    assert changed["estimator"] == {"id": "subsampled_replay", "replicas": 3, "fraction": 0.25}


@pytest.mark.parametrize("document", [{}, {"estimator": "default"}, {"estimator": "auto"}])
def test_tolerance_and_budget_are_those_of_auto(document: dict[str, object]) -> None:
    changed = apply_flags(document, AuditFlags(tolerance=0.02, budget=0.5))

    assert changed["estimator"] == {"id": "auto", "tolerance": 0.02, "budget": 0.5}


def test_budget_keeps_the_tolerance_of_the_file() -> None:
    document = {"estimator": {"id": "auto", "tolerance": 0.02, "budget": 1}}

    changed = apply_flags(document, AuditFlags(budget=0.5))

    assert changed["estimator"] == {"id": "auto", "tolerance": 0.02, "budget": 0.5}


@pytest.mark.parametrize(
    ("document", "flags", "found"),
    [
        ({}, AuditFlags(tolerance=0.02, estimator="retrain"), "estimator retrain"),
        ({"estimator": "settle"}, AuditFlags(budget=0.5), "estimator settle"),
        ({}, AuditFlags(tolerance=0.02, replicas=3), "--replicas"),
    ],
)
def test_tolerance_and_budget_go_with_no_other_estimator(
    document: dict[str, object], flags: AuditFlags, found: str
) -> None:
    with pytest.raises(InputError) as refused:
        apply_flags(document, flags)

    assert refused.value.found == found
    assert "--estimator auto" in refused.value.remedy


@pytest.mark.parametrize(
    "flags",
    [
        AuditFlags(skip=("all", "vendor")),
        AuditFlags(replace=("vendor",)),
        AuditFlags(drop=("vendor",)),
        AuditFlags(drop=("vendor:source",)),
        AuditFlags(query="loss", better="lower"),
        AuditFlags(query="loss", data="x"),
    ],
)
def test_flags_that_say_too_little_or_too_much_are_refused(flags: AuditFlags) -> None:
    with pytest.raises(InputError):
        apply_flags({}, flags)
