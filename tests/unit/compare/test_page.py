"""A comparison's page: one file, nothing of others is markup, both sides in words too."""

import re
from typing import Any

from auditor.compare.compare import compare
from auditor.compare.page import comparison_page
from auditor.policy.judge import Judged
from auditor.report.schema import Report
from auditor.stagelog.digest import sha256
from tests.support.page_reader import Node, read_page
from tests.support.reports import make_effect, make_report


def with_effect(**changes: Any) -> Report:
    return make_report(effects=(make_effect(**changes),))


def page_of(a: Report, b: Report) -> str:
    first, second = (Judged(report=r, id=sha256(n)) for r, n in ((a, b"a"), (b, b"b")))
    return comparison_page(compare(first, second), made="2026-03-02 12:00 UTC")


def row_of(page: str) -> Node:
    return read_page(page).one("table", "plot").all("tr")[1]


def test_page_loads_and_runs_nothing() -> None:
    page = page_of(make_report(), make_report())

    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert "default-src &#39;none&#39;" in policy[1]
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_both_figures_and_their_difference_are_in_the_row() -> None:
    row = row_of(page_of(make_report(), with_effect(value=0.35, low=0.3, high=0.4)))

    assert "A +0.2500 B +0.3500" in " ".join(row.words.split())
    assert "+0.1000" in row.words
    assert row.one("title").text.startswith("skip vendor: A +0.25")
    assert len(row.all("circle")) == 2


def test_harmful_change_is_marked_only_where_its_interval_says_so() -> None:
    clear = row_of(page_of(make_report(), with_effect(value=0.75, low=0.7, high=0.8)))
    noise = row_of(page_of(make_report(), with_effect(value=0.3, low=0.1, high=0.5)))

    assert "worse" in clear.one("svg").classes  # lower is better, and B is higher
    assert "open" in noise.one("svg").classes


def test_settings_come_before_figures_and_one_sided_rows_say_so() -> None:
    b = with_effect(intervention="skip tune", stage="tune")
    page = page_of(make_report(), b.model_copy(update={"assurance": "third_party"}))

    assert page.index("third_party") < page.index("skip vendor")
    assert page.count("not in this report") >= 2


def test_strings_of_others_are_text() -> None:
    evil = "skip <b onmouseover=x>\u202e"

    page = page_of(with_effect(intervention=evil), with_effect(intervention=evil))

    assert "<b " not in page
    assert "\u202e" not in page
