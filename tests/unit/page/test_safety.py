"""Nothing in a report can act on whoever reads its page."""

import base64
import hashlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.attest.statement import Subject
from auditor.page.facts import PageFacts, ReviewLine
from auditor.page.render import content_policy, page_policy, render_page
from auditor.stagelog.digest import sha256
from tests.support.page_reader import read_page, shape
from tests.support.rich_report import make_repair, make_rich_report

HOSTILE = (
    "<script>alert(1)</script>",
    "</title></style><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7*7 }}{% raw %}",
    "--></svg><svg onload=alert(1)>",
    "&lt;b&gt; &#60;i&#62; &amp;",
    "javascript:alert(1)",
    "\N{RIGHT-TO-LEFT OVERRIDE}dlrow",
    "$(touch x); `id` 'a' \"b\" -rf",
)
NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc",)), min_size=1, max_size=100
).filter(lambda name: "\x7f" not in name)
ELEMENTS = frozenset({
    "document", "html", "head", "meta", "title", "style", "body", "header", "main", "section",
    "nav", "footer", "article", "div", "p", "h1", "h2", "h3", "ul", "ol", "li", "dl", "dt", "dd",
    "a", "em", "strong", "b", "code", "pre", "span", "blockquote", "table", "caption", "thead",
    "tbody", "tfoot", "tr", "th", "td", "details", "summary", "svg", "rect", "line", "circle",
    "path", "text", "tspan", "desc",
})  # fmt: skip


def page_of(word: str) -> str:
    report = make_rich_report(word, repair=make_repair(word))
    facts = PageFacts(
        report_id=sha256(b"report"),
        signer=word,
        keyid=sha256(b"key"),
        subjects=(Subject(name=word, digest=sha256(b"file")),),
        made=word,
        proven=word,
        reviews=(
            ReviewLine(
                who=word,
                standing=word,
                made=word,
                expires=word,
                conditions=(word,),
                comment=word,
            ),
        ),
    )
    return render_page(report, facts)


def seen(word: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in word)


HARMLESS = read_page(page_of("cue"))
SHAPE = shape(HARMLESS)


@pytest.mark.parametrize("word", HOSTILE)
def test_hostile_text_is_shown_and_changes_no_element(word: str) -> None:
    document = read_page(page_of(word))

    assert shape(document) == SHAPE
    assert seen(word) in document.one("h1").text
    assert seen(word) in document.by_id("limitations").text


@settings(max_examples=30)  # a page takes a twentieth of a second
@given(word=NAMES)
def test_any_text_is_shown_and_changes_no_element(word: str) -> None:
    document = read_page(page_of(word))

    assert shape(document) == SHAPE
    assert document.one("h1").text == seen(word)


def test_page_has_no_element_or_attribute_that_loads_or_runs() -> None:
    nodes = list(HARMLESS.walk())

    assert {node.tag for node in nodes} <= ELEMENTS
    attributes = [(name, value) for node in nodes for name, value in node.attributes.items()]
    assert [name for name, _ in attributes if name.startswith("on")] == []
    assert {name for name, _ in attributes} & {"src", "srcset", "style", "xlink:href"} == set()
    assert [v for name, v in attributes if name == "href" and not v.startswith("#")] == []
    assert [value for _, value in attributes if "://" in value] == []


def test_links_lead_to_what_is_there() -> None:
    anchors = {node.attributes["id"] for node in HARMLESS.walk() if "id" in node.attributes}

    targets = {node.attributes["href"].removeprefix("#") for node in HARMLESS.all("a")}

    assert targets != set()
    assert targets <= anchors


def test_policy_allows_this_style_and_nothing_else() -> None:
    (policy,) = (
        node.attributes["content"]
        for node in HARMLESS.all("meta")
        if node.attributes.get("http-equiv") == "Content-Security-Policy"
    )
    style = HARMLESS.one("style").text
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))

    assert rules == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert page_policy().startswith(policy)
    assert content_policy(style + " ") != policy


def test_style_loads_nothing() -> None:
    style = HARMLESS.one("style").text

    assert re.search(r"url\(|@import|expression|src:", style) is None
    # One brace without its partner, and whatever follows would be ignored.
    assert style.count("{") == style.count("}") > 0


def test_commands_take_a_subjects_name_as_one_argument() -> None:
    commands = read_page(page_of("-x; rm 'y'")).by_id("verifying").one("pre").text

    assert """verify report.sigstore.json './-x; rm '"'"'y'"'"''""" in commands
