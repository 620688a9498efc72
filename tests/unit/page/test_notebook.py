"""What a notebook shows of a report."""

import subprocess
import sys
from html.parser import HTMLParser

from typing_extensions import override

from auditor.attest.verify import verify_bundle
from tests.support.house import ROOT
from tests.support.page_reader import read_page
from tests.support.reports import make_report, make_signed
from tests.support.rich_report import make_rich_report

WITHOUT = """
import sys
sys.modules["jinja2"] = sys.modules["markupsafe"] = None  # as if they were not installed
from tests.support.reports import make_report
print(make_report()._repr_html_())
"""


class Frame(HTMLParser):
    attributes: dict[str, str | None]

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag == "iframe"
        self.attributes = dict(attrs)


def frame_of(shown: str | None) -> dict[str, str | None]:
    reader = Frame()
    reader.feed(shown or "")
    return reader.attributes


def test_verified_report_is_shown_as_its_page_in_a_frame_that_runs_nothing() -> None:
    signed = make_signed()

    frame = frame_of(verify_bundle(signed.bundle, signed.trust, files={})._repr_html_())

    assert frame["sandbox"] == ""
    document = read_page(frame["srcdoc"] or "")
    assert "signature verified: it is of the key “signer”" in document.one("p", "seal").text


def test_report_by_itself_says_that_its_signature_was_not_verified() -> None:
    document = read_page(frame_of(make_report()._repr_html_())["srcdoc"] or "")

    assert "NOT verified" in document.one("p", "seal").text


def test_text_of_others_stays_inside_the_frame() -> None:
    word = '"></iframe><script>alert(1)</script>'

    frame = frame_of(make_rich_report(word)._repr_html_())

    assert read_page(frame["srcdoc"] or "").one("h1").text == word
    assert frame["title"] == f"Stage audit of {word}"


def test_without_the_extra_a_notebook_shows_text() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.stdout, done.stderr) == ("None\n", "")
