"""What a page says beside the report: signature, reviews, assurance."""

import pytest

from auditor.attest.trust import TrustFile
from auditor.errors import ReviewError, SignatureError
from auditor.page.facts import read_for_page
from auditor.page.render import render_page
from tests.support.page_reader import read_page
from tests.support.reports import make_report, make_signed
from tests.support.reviews import NOW, Person, make_review


def test_review_of_a_validator_is_shown_and_earns_its_assurance() -> None:
    signed, person = make_signed(), Person()
    keys = TrustFile(keys=(signed.entry, person.entry(name="ada", roles=("validator",))))
    review = make_review(comment="Looked at <b>everything</b>.")

    report, facts = read_for_page(
        signed.bundle, keys, now=NOW, reviews=[person.sign(signed.bundle, review)]
    )

    document = read_page(render_page(report, facts))
    told = document.by_id("reviews").text
    assert "validator Ada Lovelace, Model Risk Ltd (key ada) approves" in told
    assert "Looked at <b>everything</b>." in told
    assert "Assurance: third-party." in document.one("p", "seal").text


def test_review_of_another_report_is_refused() -> None:
    signed, other, person = make_signed(), make_signed(report=make_report(purpose="x")), Person()
    keys = TrustFile(keys=(signed.entry, person.entry(name="ada", roles=("validator",))))

    with pytest.raises(ReviewError):
        read_for_page(signed.bundle, keys, now=NOW, reviews=[person.sign(other.bundle)])


def test_review_needs_a_report_that_verifies() -> None:
    signed, person = make_signed(), Person()
    keys = TrustFile(keys=(person.entry(name="ada", roles=("validator",)),))

    with pytest.raises(SignatureError):
        read_for_page(signed.bundle, keys, now=NOW, reviews=[person.sign(signed.bundle)])


def test_report_of_an_unknown_key_is_read_with_nothing_verified() -> None:
    signed = make_signed()

    report, facts = read_for_page(signed.bundle, TrustFile(), now=NOW)

    assert report == make_report()
    assert (facts.signer, facts.keyid, facts.reviews) == (None, signed.entry.keyid, ())
    assert [subject.name for subject in facts.subjects] == ["stagelog.json", "model.safetensors"]
