"""Marks lie where their figures are."""

import pytest

from auditor.effects import Verdict
from auditor.page.facts import PageFacts
from auditor.page.render import render_page
from auditor.page.sections.effects import DRAWN_ROWS
from auditor.page.sections.timeline import BOTTOM, RATE_BOTTOM, RATE_TOP, TOP
from tests.support.page_reader import Node, read_page
from tests.support.reports import make_effect, make_report
from tests.support.rich_report import make_rich_report

EFFECTS = (
    make_effect(intervention="skip a", value=2.0, low=1.5, high=2.75, sd_order=0.25, sd_rerun=0.5),
    make_effect(intervention="skip b", value=-1.0, low=-1.25, high=-0.5),
    make_effect(intervention="replace a", kind="replace", value=0.5, low=0.25, high=0.75),
)


def plot_of(*effects: object) -> Node:
    report = make_report(effects=effects)
    return read_page(render_page(report, PageFacts())).by_id("effects").one("table")


def at(node: Node, name: str) -> float:
    return float(node.attributes[name].removesuffix("%"))


def strips(table: Node) -> list[Node]:
    return [row.all("svg", "strip")[0] for row in table.all("tr") if row.all("svg", "strip")]


def place(strip: Node) -> float:
    marks = [n for n in strip.walk() if "cx" in n.attributes or (n.tag == "svg" and n is not strip)]
    (mark,) = marks
    return at(mark, "cx" if mark.tag == "circle" else "x")


def test_points_intervals_and_noise_lie_on_one_line_through_zero_for_all_kinds() -> None:
    table = plot_of(*EFFECTS)
    first, second, third = strips(table)
    zero = at(first.one("line", "z"), "x1")
    unit = (place(first) - zero) / 2.0

    def expected(value: float) -> float:
        return pytest.approx(zero + unit * value, abs=0.011)  # two decimals are written

    assert unit > 0
    assert place(second) == expected(-1.0)
    assert place(third) == expected(0.5)
    for strip, low, high in ((first, 1.5, 2.75), (second, -1.25, -0.5), (third, 0.25, 0.75)):
        interval = strip.one("line", "i")
        assert at(interval, "x1") == expected(low)
        assert at(interval, "x2") == expected(high)
    for name, sd in (("o", 0.25), ("r", 0.5)):
        band = first.one("rect", name)
        assert at(band, "x") == expected(2.0 - sd)
        assert at(band, "width") == pytest.approx(2 * sd * unit, abs=0.011)


def test_axis_names_the_places_of_its_ticks() -> None:
    table = plot_of(*EFFECTS)
    zero = at(strips(table)[0].one("line", "z"), "x1")
    unit = (place(strips(table)[0]) - zero) / 2.0

    texts = table.one("svg", "axis").all("text")

    assert len(texts) >= 3
    for text in texts:
        value = float(text.text.replace("−", "-"))
        assert at(text, "x") == pytest.approx(zero + unit * value, abs=0.011)


def test_noise_that_was_not_measured_is_said_and_not_drawn() -> None:
    report = make_report(effects=EFFECTS[1:])

    section = read_page(render_page(report, PageFacts())).by_id("effects")

    assert section.one("table").all("rect") == []
    assert "sd_order and sd_rerun: not measured." in section.one("p", "note").text


def test_many_rows_are_drawn_by_verdict_and_size_and_the_rest_is_counted() -> None:
    many = [
        make_effect(
            intervention=f"skip s{i}",
            value=float(i),
            low=i - 0.5,
            high=i + 0.5,
            verdict=Verdict.EFFECT if i == 0 or i > 10 else Verdict.NOT_RESOLVED,
        )
        for i in range(100)
    ]
    many[0] = make_effect(intervention="skip s0", value=0.25)

    table = plot_of(*many)

    labels = [row.one("th").text for row in table.all("tr") if row.all("svg", "strip")]
    assert labels == [f"s{i}" for i in range(100 - DRAWN_ROWS, 100)]
    assert "76 more in the table" in table.one("tr", "kind").text


def test_timeline_bars_are_the_windows() -> None:
    report = make_rich_report("cue")
    figure = read_page(render_page(report, PageFacts())).by_id("timeline").one("svg", "timeline")
    windows = report.timelines[0].windows
    bars = [bar for bar in figure.all("rect") if bar.all("title")]

    # Values go from 1 at the top to -0.5 at the bottom, steps from 0 to 40.
    zero = TOP + (BOTTOM - TOP) / 1.5
    for bar, window in zip(bars, windows, strict=True):
        tip = zero - window.value * (BOTTOM - TOP) / 1.5
        assert at(bar, "x") == pytest.approx(100 * window.first_step / 40)
        assert at(bar, "width") == pytest.approx(100 * (window.end_step - window.first_step) / 40)
        assert float(bar.attributes["y"]) == pytest.approx(min(tip, zero), abs=0.01)
        assert float(bar.attributes["height"]) == pytest.approx(abs(tip - zero), abs=0.01)
    assert [bar.classes for bar in bars] == [{"better"}, {"worse"}, {"worse"}]


def test_timeline_levels_are_the_learning_rates() -> None:
    report = make_rich_report("cue")
    figure = read_page(render_page(report, PageFacts())).by_id("timeline").one("svg", "timeline")
    lines = figure.all("line", "rate")
    windows = report.timelines[0].windows

    levels = lines[: len(windows)]
    largest = max(window.learning_rate for window in windows)
    for line, window in zip(levels, windows, strict=True):
        y = RATE_BOTTOM - (RATE_BOTTOM - RATE_TOP) * window.learning_rate / largest
        assert float(line.attributes["y1"]) == float(line.attributes["y2"]) == pytest.approx(y)
    assert len(lines) == 2 * len(windows) - 1
