"""A report is read with what is known about its signature."""

from pathlib import Path

import pytest

from auditor.attest.trust import TrustFile
from auditor.errors import DocumentRefusedError, InputError, SignatureError
from service.cli.bundle_reader import open_bundle, read_bundle
from tests.support.reports import make_report, make_signed


def test_open_bundle_names_the_trusted_signer() -> None:
    signed = make_signed()

    opened = open_bundle(signed.bundle, trust=signed.trust)

    assert opened.content == make_report()
    assert opened.signer == "signer"
    assert "signature verified: signer" in opened.note


def test_open_bundle_of_an_unknown_key_says_that_nothing_was_checked() -> None:
    opened = open_bundle(make_signed().bundle, trust=TrustFile())

    assert opened.signer is None
    assert "NOT checked" in opened.note


def test_open_bundle_refuses_a_wrong_signature_of_a_trusted_key() -> None:
    one, other = make_signed(), make_signed()
    forged = one.bundle.replace(one.entry.keyid.encode(), other.entry.keyid.encode())

    with pytest.raises(SignatureError):
        open_bundle(forged, trust=other.trust)


def test_open_bundle_refuses_what_is_no_bundle() -> None:
    with pytest.raises(DocumentRefusedError):
        open_bundle(b"{}", trust=TrustFile())


def test_read_bundle_of_a_missing_file_says_what_to_pass(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="report bundle"):
        read_bundle(tmp_path / "none.json")
