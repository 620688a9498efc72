"""Pages in a real browser: what axe-core objects to, what is loaded, how wide they are."""

from pathlib import Path
from typing import Any

import pytest

from auditor.attest.verify import verify_bundle
from auditor.page.facts import PageFacts, verified_facts
from auditor.page.render import render_page
from examples.report_page.browser import look, missing
from tests.support.reports import make_effect, make_report, make_signed
from tests.support.rich_report import make_repair, make_rich_report
from tests.unit.compare.test_page import page_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.tool("chromium"),
    pytest.mark.skipif(bool(missing()), reason=f"needs {missing()}"),
]

DESK = {"width": 1240, "height": 900}
PHONE = {"width": 390, "height": 844}
SERIOUS = {"serious", "critical"}


def write(folder: Path, page: str, *, name: str = "page") -> str:
    path = folder / f"{name}.html"
    path.write_text(page)
    return path.as_uri()


def rich_page() -> str:
    signed = make_signed(report=make_rich_report("cue", repair=make_repair("cue")))
    found = verify_bundle(signed.bundle, signed.trust, files={})
    return render_page(found.report, verified_facts(found, made="2026-03-02 10:00 UTC"))


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    url = write(tmp_path_factory.mktemp("pages"), rich_page())
    return look([
        {**DESK, "url": url, "scheme": "light", "axe": True, "open": True},
        {**DESK, "url": url, "scheme": "dark", "axe": True, "open": True},
        {**PHONE, "url": url, "scheme": "light", "axe": True, "open": True},
        {**PHONE, "url": url, "scheme": "dark"},
    ])


def test_axe_finds_nothing_serious_in_light_dark_and_narrow(views: list[dict[str, Any]]) -> None:
    looked = [view for view in views if "violations" in view]

    assert len(looked) == 3
    for view in looked:
        assert [v for v in view["violations"] if v["impact"] in SERIOUS] == []
        assert {"color-contrast", "heading-order", "svg-img-alt"} <= set(view["passes"])


def test_axe_finds_nothing_serious_on_a_page_of_two_reports(tmp_path: Path) -> None:
    url = write(tmp_path, page_of(make_rich_report("cue"), make_rich_report("cue")))

    found = look([
        {**DESK, "url": url, "scheme": "light", "axe": True, "open": True},
        {**DESK, "url": url, "scheme": "dark", "axe": True, "open": True},
        {**PHONE, "url": url, "scheme": "light", "axe": True, "open": True},
    ])

    for view in found:
        assert [v for v in view["violations"] if v["impact"] in SERIOUS] == []
        assert (len(view["requests"]), view["messages"], view["scripts"]) == (1, [], 0)
        assert view["size"]["scroll"] <= view["size"]["width"]


def test_axe_finds_what_is_planted(tmp_path: Path) -> None:
    page = rich_page().replace("<title>Stage audit of cue</title>", "")

    (found,) = look([{**DESK, "url": write(tmp_path, page), "scheme": "light", "axe": True}])

    assert "document-title" in {violation["id"] for violation in found["violations"]}


def test_page_loads_itself_only_and_the_browser_has_no_complaint(
    views: list[dict[str, Any]],
) -> None:
    for view in views:
        assert len(view["requests"]) == 1
        assert view["messages"] == []
        assert view["scripts"] == 0


def test_page_is_never_wider_than_the_window(views: list[dict[str, Any]]) -> None:
    for view in views:
        assert view["size"]["scroll"] <= view["size"]["width"]


def test_style_applies_by_its_hash_and_nothing_else_does(tmp_path: Path) -> None:
    page = rich_page().replace("h1{", "h1{outline:1px solid red;", 1)

    (found,) = look([{**DESK, "url": write(tmp_path, page), "scheme": "light"}])

    assert any("Content Security Policy" in message for message in found["messages"])


def test_script_in_a_page_would_not_run(tmp_path: Path) -> None:
    page = rich_page().replace("<main>", "<main><script>document.title = 'ran'</script>")

    (found,) = look([{**DESK, "url": write(tmp_path, page), "scheme": "light"}])

    assert found["title"] == "Stage audit of cue"
    assert any("Content Security Policy" in message for message in found["messages"])


def test_long_names_do_not_widen_the_page_of_a_telephone(tmp_path: Path) -> None:
    name = "averylongname" * 9
    report = make_report(
        effects=(make_effect(intervention=f"skip {name}", stage=name),),
        evaluation_data=(),
    )

    url = write(tmp_path, render_page(report, PageFacts()))
    (found,) = look([{**PHONE, "url": url, "scheme": "light", "open": True}])

    assert found["size"]["scroll"] <= found["size"]["width"]
