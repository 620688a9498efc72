"""What the page says is what the report says."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import BaseModel

import auditor.page
from auditor.effects import Better, Verdict
from auditor.page.facts import PageFacts, ReviewLine
from auditor.page.render import SECTIONS, render_page
from auditor.report.schema import Report
from tests.support.page_reader import Node, read_page
from tests.support.reports import make_effect, make_report
from tests.support.rich_report import make_repair, make_rich_report

NUMBER = re.compile(r"[+−-]?\d[\d,]*(?:\.(\d+))?(?:e[+−]\d+)?")


def page(report: Report, facts: PageFacts | None = None) -> Node:
    return read_page(render_page(report, facts or PageFacts()))


RICH = make_rich_report("cue", repair=make_repair("cue"))
REVIEW = ReviewLine(
    who="validator A", standing="approves", made="x", expires=None, conditions=(), comment=None
)
DOCUMENT = page(RICH, PageFacts(reviews=(REVIEW,)))


def figures_of(value: object) -> Iterator[float]:
    """Yield every number of a record, however deep."""
    match value:
        case bool():
            return
        case int() | float():
            yield float(value)
        case BaseModel():
            for name in type(value).model_fields:
                yield from figures_of(getattr(value, name))
        case dict():
            for one in value.values():
                yield from figures_of(one)
        case tuple():
            for one in value:
                yield from figures_of(one)


def test_headings_are_in_order_and_sections_are_named_by_them() -> None:
    levels = [int(n.tag[1]) for n in DOCUMENT.walk() if re.fullmatch(r"h\d", n.tag)]

    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    titles = {s.id: s.title for s in SECTIONS}
    found = [n for n in DOCUMENT.all("section") if "id" in n.attributes]
    assert {n.attributes["id"]: n.one("h2").text for n in found} == titles | {"verdict": "Verdict"}


def test_every_section_has_a_template_and_every_template_a_section() -> None:
    folder = Path(auditor.page.__file__).parent / "templates" / "sections"

    assert {path.stem for path in folder.iterdir()} == {section.id for section in SECTIONS}


def test_verdict_and_limitations_come_before_any_plot() -> None:
    order = [n.attributes.get("id", n.tag) for n in DOCUMENT.walk() if n.tag in {"section", "svg"}]

    assert order[:2] == ["verdict", "limitations"]


@pytest.mark.parametrize("section", [s.id for s in SECTIONS if s.id not in {"limitations"}])
def test_sections_without_anything_to_show_are_left_out(section: str) -> None:
    plain = page(make_report(effects=(), limitations=()))
    ids = {node.attributes.get("id") for node in plain.walk()}

    always = {"provenance", "verifying"}
    assert (section in ids) == (section in always)


def test_every_figure_in_a_table_is_in_the_report() -> None:
    repair = make_repair("cue")
    changes = [row.after - row.before for row in repair.queries]
    known = [*figures_of(RICH), *changes]
    cells = [
        node.words
        for node in DOCUMENT.walk()
        if node.tag == "td" and ("n" in node.classes or not node.classes & {"drawn", "digest"})
    ]
    numbers = [match for cell in cells for match in NUMBER.finditer(cell)]

    strange = [
        match[0]
        for match in numbers
        if not any(
            abs(float(match[0].replace("−", "-").replace(",", "")) - figure)
            <= 0.5001 * 10.0 ** -len(match[1] or "")
            for figure in known
        )
    ]

    assert len(numbers) > 100
    assert strange == []


def test_every_header_cell_says_what_it_heads() -> None:
    assert {n.attributes["scope"] for n in DOCUMENT.all("th")} == {"col", "row", "rowgroup"}
    assert all(table.all("caption") for table in DOCUMENT.all("table"))


def test_every_picture_has_a_title_or_is_hidden_from_readers() -> None:
    inner = {id(n) for svg in DOCUMENT.all("svg") for n in svg.walk() if n is not svg}
    pictures = [svg for svg in DOCUMENT.all("svg") if id(svg) not in inner]

    silent = [
        svg
        for svg in pictures
        if svg.attributes.get("aria-hidden") != "true"
        and not (svg.attributes.get("role") == "img" and svg.all("title"))
    ]

    assert len(pictures) > 10
    assert silent == []


@pytest.mark.parametrize(
    ("value", "better", "said", "other"),
    [
        (0.25, Better.LOWER, "worse", "better"),
        (-0.25, Better.LOWER, "better", "worse"),
        (0.25, Better.HIGHER, "better", "worse"),
        (-0.25, Better.HIGHER, "worse", "better"),
    ],
)
def test_harm_never_looks_like_a_gain(value: float, better: Better, said: str, other: str) -> None:
    low, high = sorted((value / 2, value * 2))
    effect = make_effect(value=value, low=low, high=high, better=better)
    query = make_report().queries[0].model_copy(update={"better": str(better)})

    document = page(make_report(effects=(effect,), queries=(query,)))

    rows = [row for row in document.by_id("effects").all("tr") if row.all("td", "drawn")]
    drawn = rows[0].one("td", "drawn").all("svg", "strip")[0]
    assert drawn.classes == {"strip", said}
    assert (drawn.all("path") != []) == (said == "worse")
    assert rows[0].all("td")[-1].text == f"effect: {said}"
    assert f"1 made the model {said}" in document.one("p", "verdict").text
    assert document.one("article").classes == {"finding", said}
    assert other not in document.one("article").one("p", "figure").text
    sides = document.by_id("effects").one("p", "sides").text
    assert f"{'raised' if value > 0 else 'lowered'} it: {said}" in sides


def test_unresolved_effect_has_no_direction() -> None:
    effect = make_effect(verdict=Verdict.NOT_RESOLVED)

    document = page(make_report(effects=(effect,)))

    strip = document.by_id("effects").one("table").all("svg", "strip")[0]
    assert strip.classes == {"strip", "open"}
    assert "0 of 1 effect is established; 1 is not resolved." in document.one("p", "verdict").text


def test_effect_without_a_figure_is_a_dash_and_no_mark() -> None:
    effect = make_effect(value=None, low=None, high=None, verdict=Verdict.NOT_RESOLVED)

    table = page(make_report(effects=(effect,))).by_id("effects").one("table")

    assert table.all("circle") == table.all("path") == []
    assert [cell.text for cell in table.all("td")[1:4]] == ["–", "–", "not computed"]


def test_page_says_that_a_signature_verified_and_that_it_is_not_signed_itself() -> None:
    text = page(RICH, PageFacts(signer="Model team", keyid="ab" * 32)).one("p", "seal").text

    assert "the report's signature verified: it is of the key “Model team” (abababab" in text
    assert "The page itself is not signed" in text


def test_assurance_is_what_was_verified_and_not_what_a_report_calls_itself() -> None:
    document = page(make_report(assurance="third_party"), PageFacts(signer="s", keyid="ab"))

    said = "Assurance: self-attested (the report calls itself third-party)"
    assert said in document.one("p", "seal").text


def test_time_is_the_signers_word_unless_it_is_proven() -> None:
    claimed = page(make_report()).one("p", "seal").text
    proven = page(make_report(), PageFacts(proven="2026-03-01 12:01 UTC, by T")).one("p", "seal")

    assert "Report of 2026-03-01 12:00 UTC, by the signer's word." in claimed
    assert "Signed before 2026-03-01 12:01 UTC, by T." in proven.text


def test_page_says_that_a_signature_was_not_verified() -> None:
    seal = DOCUMENT.one("p", "seal")

    assert "the report's signature was NOT verified" in seal.text
    assert "no" in seal.classes


def test_repair_is_told_by_its_own_figures() -> None:
    assert DOCUMENT.one("p", "verdict").text == (
        "Of 2 queries, the repair makes 1 worse and 1 better; 0 of 1 goal is met."
    )
    rows = DOCUMENT.by_id("repair").one("table", "changes").one("tbody").all("tr")
    assert [row.all("td")[-1].text for row in rows] == ["better", "worse"]


def test_validation_and_history_say_what_was_counted() -> None:
    validation, history = (DOCUMENT.by_id(name).words for name in ("validation", "history"))

    assert "90, of which 20 exact by construction" in validation
    assert "65 of 70" in validation
    assert "1 of 30" in validation
    rows = DOCUMENT.by_id("history").one("tbody").all("tr")
    assert [row.all("td")[0].text for row in rows] == ["failed", "this one"]
    assert "List of audits" in history


def test_effect_on_a_query_without_a_value_is_in_the_table() -> None:
    stray = make_effect(query="stray", value=0.4375)

    document = page(make_report(effects=(make_effect(), stray)))

    tables = document.by_id("everything").all("table")
    assert [table.one("caption").text.split(" ")[0] for table in tables] == ["cue", "stray"]
    assert "+0.4375" in tables[1].text


def test_unknown_word_for_better_gives_no_direction() -> None:
    query = make_report().queries[0].model_copy(update={"better": "larger"})

    section = page(make_report(queries=(query,))).by_id("effects")

    assert "larger is better" in section.text
    assert section.one("p", "sides").text == "← lowered it raised it →"


def test_text_of_the_report_stands_verbatim() -> None:
    effect = make_effect(statement="Had the updates of stage 'v' not been executed, …")

    document = page(make_report(effects=(effect,)))

    assert document.one("blockquote").text == effect.statement


def test_page_of_a_report_is_always_the_same() -> None:
    assert render_page(RICH, PageFacts()) == render_page(RICH, PageFacts())
