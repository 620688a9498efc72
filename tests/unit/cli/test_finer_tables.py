"""Joint effects, Shapley values and timelines as people read them."""

from rich.console import Console

from auditor.report.finer import (
    AllocatedValue,
    Allocation,
    JointEffect,
    StageSum,
    Timeline,
    TimelineWindow,
)
from service.cli.finer_tables import print_finer
from tests.support.reports import make_report

JOINT = JointEffect(
    query="cue", intervention="skip a + skip b", stages=("a", "b"), value=0.477, single_sum=0.949,
    text="joint effect of {a, b} +0.477, sum of single effects +0.949",
)  # fmt: skip
ALLOCATION = Allocation(
    query="cue", unit="probability", context=("base",), total=0.75, confidence=0.9,
    values=(
        AllocatedValue(stage="a", value=0.25, low=0.125, high=0.375),
        AllocatedValue(stage="b", value=0.5, low=0.5, high=0.5),
        AllocatedValue(stage="c", value=0.0625),
    ),
)  # fmt: skip
TIMELINE = Timeline(
    query="cue", unit="probability", curvature="exact",
    windows=(
        TimelineWindow(stage="a", first_step=0, end_step=5, value=0.25, learning_rate=0.1),
        TimelineWindow(stage="b", first_step=5, end_step=9, value=-0.5, learning_rate=0.01),
    ),
    stages=(StageSum(stage="a", value=0.25), StageSum(stage="b", value=-0.5)),
)  # fmt: skip


def printed(**parts) -> str:
    console = Console(width=140)
    with console.capture() as capture:
        print_finer(make_report(**parts), console=console)
    return capture.get()


def test_nothing_is_printed_where_there_is_nothing():
    assert printed() == ""


def test_joint_effects_are_printed_in_their_own_words():
    assert f"- cue: {JOINT.text}" in printed(joints=(JOINT,))


def test_shapley_values_carry_their_label_and_their_sum():
    text = printed(allocations=(ALLOCATION,))

    assert "after base (allocation convention, not a causal finding)" in text
    assert "90% interval" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["a", "+0.2500", "+0.1250", "to", "+0.3750"] in lines
    assert ["b", "+0.5000", "exact"] in lines
    assert ["c", "+0.0625", "–"] in lines
    assert ["sum", "+0.7500"] in lines


def test_timelines_say_that_they_are_first_order():
    text = printed(timelines=(TIMELINE,))

    assert "effect per window, first order (AA-Score); not a replay" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["a", "0-4", "+0.2500", "0.1"] in lines
    assert ["b", "sum", "-0.5000"] in lines
