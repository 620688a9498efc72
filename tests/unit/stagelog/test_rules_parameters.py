"""Parameters: ties, groups, and transitions that say exactly what changed."""

from typing import Any

import pytest

from auditor.errors import StageLogError
from auditor.stagelog.log import ParameterGroup, ParameterInfo, Stage, StageLog, Transition
from auditor.stagelog.rules_parameters import present_after, present_at_start
from auditor.stagelog.validate import validate
from tests.support.manifests import make_log, make_stage

VALUES = "8" * 64
SHAPE = ParameterInfo(shape=(2,), dtype="float32")
PARAMETERS = {
    "a": SHAPE,
    "b": SHAPE,
    "tied": ParameterInfo(shape=(2,), dtype="float32", tied_to="a"),
    "mean": ParameterInfo(shape=(2,), dtype="float32", kind="buffer"),
}


def groups(*names: str) -> tuple[ParameterGroup, ...]:
    return tuple(ParameterGroup(parameters=(name,)) for name in names)


def stage(index: int, *trained: str, **changes: Any) -> Stage:
    return make_stage(index, groups=groups(*trained), transition=Transition(**changes))


def log(*stages: Stage, **parameters: ParameterInfo) -> StageLog:
    return make_log(*stages, parameters=PARAMETERS | parameters)


def refused(log: StageLog) -> str:
    with pytest.raises(StageLogError) as caught:
        validate(log)
    return caught.value.where


def test_freezing_and_unfreezing_is_accepted_when_listed() -> None:
    validate(
        log(
            stage(0, "a", "b"),
            stage(1, "b", frozen=("a",)),
            stage(2, "a", "b", unfrozen=("a",)),
        )
    )


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({}, "stages[1].transition.frozen"),
        ({"frozen": ("a", "b")}, "stages[1].transition.frozen"),
        ({"frozen": ("a",), "unfrozen": ("b",)}, "stages[1].transition.unfrozen"),
        ({"frozen": ("a",), "added": ("c",)}, "stages[1].transition.added"),
        ({"frozen": ("a", "a")}, "stages[1].transition.frozen"),
        ({"frozen": ("a",), "removed": ("c",)}, "stages[1].transition.removed"),
        ({"frozen": ("a",), "added_values": VALUES}, "stages[1].transition.added_values"),
        ({"added": ("a",), "removed": ("a",)}, "stages[1].transition.added_values"),
        ({"frozen": (), "removed": ("a",)}, "stages[1].transition"),
    ],
)
def test_transition_that_says_something_else_is_refused(
    changes: dict[str, Any], where: str
) -> None:
    assert refused(log(stage(0, "a", "b"), stage(1, "b", **changes))) == where


def test_first_stage_freezes_nothing() -> None:
    assert refused(log(stage(0, "a", frozen=("b",)))) == "stages[0].transition.frozen"


@pytest.mark.parametrize("trained", [("a", "a"), ("mean",), ("tied",), ("other",)], ids="+".join)
def test_group_of_what_cannot_be_trained_is_refused(trained: tuple[str, ...]) -> None:
    where = refused(log(stage(0, *trained)))

    assert where == f"stages[0].groups[{len(trained) - 1}].parameters"


def test_stage_without_groups_is_refused() -> None:
    assert refused(log(stage(0))) == "stages[0].groups"


def test_empty_group_is_refused() -> None:
    empty = make_stage(0, groups=(ParameterGroup(parameters=()),))

    assert refused(log(empty)) == "stages[0].groups[0].parameters"


def test_added_parameter_is_trained_without_being_unfrozen() -> None:
    added = stage(1, "a", "c", added=("c",), added_values=VALUES)

    validate(log(stage(0, "a"), added, c=SHAPE))


def test_parameter_set_to_new_values_is_removed_and_added() -> None:
    again = stage(1, "a", removed=("a",), added=("a",), added_values=VALUES)
    checked = log(stage(0, "a"), again)

    validate(checked)
    assert "a" in present_at_start(checked)


def test_removed_parameter_is_not_trained_later() -> None:
    removed = stage(1, "a", removed=("b",))

    assert refused(log(stage(0, "a", "b"), removed, stage(2, "a", "b", unfrozen=("b",)))) == (
        "stages[2].groups[1].parameters"
    )


def test_presence_follows_the_transitions() -> None:
    log_ = log(
        stage(0, "a"),
        stage(1, "a", "c", added=("c",), added_values=VALUES),
        stage(2, "a", removed=("c",)),
        c=SHAPE,
    )

    everything = frozenset(PARAMETERS)
    assert [present_after(log_, index) for index in (-1, 0, 1, 2)] == [
        everything, everything, everything | {"c"}, everything,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "tie",
    [
        ParameterInfo(shape=(2,), dtype="float32", tied_to="nothing"),
        ParameterInfo(shape=(2,), dtype="float32", tied_to="tied"),
        ParameterInfo(shape=(3,), dtype="float32", tied_to="a"),
        ParameterInfo(shape=(2,), dtype="float64", tied_to="a"),
        ParameterInfo(shape=(2,), dtype="float32", tied_to="mean"),
    ],
)
def test_tie_that_leads_nowhere_is_refused(tie: ParameterInfo) -> None:
    assert refused(log(stage(0, "a"), loose=tie)) == 'parameters["loose"].tied_to'


def test_optimizer_state_is_kept_within_a_family_only() -> None:
    kept = Transition(optimizer="keep")
    adam = make_stage(0, groups=groups("a"), optimizer={"kind": "adam"})
    adamw = make_stage(1, groups=groups("a"), optimizer={"kind": "adamw"}, transition=kept)
    sgd = make_stage(1, groups=groups("a"), optimizer={"kind": "sgd"}, transition=kept)

    validate(log(adam, adamw))
    assert refused(log(adam, sgd)) == "stages[1].transition.optimizer"
