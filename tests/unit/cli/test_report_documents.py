"""``stageaudit report html``, ``card`` and ``bom`` from files."""

import json
from pathlib import Path

import pytest

from auditor.attest.bundle import report_id
from auditor.attest.trust import TrustFile, format_trust
from service.cli.main import run
from service.config import config_folder
from service.keys import TRUST_FILE
from tests.support.page_reader import read_page
from tests.support.reports import Signed, make_signed


def typed(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        run([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def trust(signed: Signed | None) -> None:
    """Make the user's trust file: of one key, or of none."""
    folder = config_folder()
    folder.mkdir(parents=True, exist_ok=True)
    keys = TrustFile() if signed is None else signed.trust
    (folder / TRUST_FILE).write_bytes(format_trust(keys))


@pytest.fixture
def signed() -> Signed:
    return make_signed()


@pytest.fixture
def bundle(tmp_path: Path, signed: Signed) -> Path:
    path = tmp_path / "report.json"
    path.write_bytes(signed.bundle)
    return path


def test_html_of_a_trusted_key_says_that_the_signature_verified(
    tmp_path: Path, bundle: Path, signed: Signed
) -> None:
    trust(signed)

    code = typed("report", "html", bundle, "-o", tmp_path / "report.html")

    document = read_page((tmp_path / "report.html").read_text())
    assert code == 0
    assert "signature verified: it is of the key “signer”" in document.one("p", "seal").text
    assert report_id(signed.bundle) in document.by_id("verifying").text
    assert "not compared" in document.by_id("verifying").text


def test_a_key_may_be_named_instead_of_the_users_trust_file(
    tmp_path: Path, bundle: Path, signed: Signed
) -> None:
    trust(None)
    key = tmp_path / "signer.pub.pem"
    key.write_text(signed.pair.public_pem)

    code = typed("report", "html", bundle, "-o", tmp_path / "report.html", "--key", key)

    document = read_page((tmp_path / "report.html").read_text())
    assert code == 0
    assert "it is of the key “signer.pub.pem”" in document.one("p", "seal").text


def test_html_of_an_unknown_key_says_that_nothing_vouches(tmp_path: Path, bundle: Path) -> None:
    trust(None)

    code = typed("report", "html", bundle, "-o", tmp_path / "report.html")

    document = read_page((tmp_path / "report.html").read_text())
    assert code == 0
    assert "NOT verified" in document.one("p", "seal").text
    assert "model.safetensors" in document.by_id("verifying").text


def test_html_of_a_changed_bundle_is_refused(tmp_path: Path, bundle: Path, signed: Signed) -> None:
    trust(signed)
    bundle.write_bytes(signed.bundle.replace(b'"sig":"', b'"sig":"AAAA', 1))

    code = typed("report", "html", bundle, "-o", tmp_path / "report.html")

    assert code == 3
    assert not (tmp_path / "report.html").exists()


def test_html_prints_what_it_wrote_as_json(
    tmp_path: Path, bundle: Path, signed: Signed, capsys: pytest.CaptureFixture[str]
) -> None:
    trust(signed)

    typed("report", "html", bundle, "-o", tmp_path / "report.html", "--json")

    page = (tmp_path / "report.html").read_bytes()
    assert json.loads(capsys.readouterr().out) == {
        "path": str(tmp_path / "report.html"),
        "report": report_id(signed.bundle),
        "signer": "signer",
        "size_bytes": len(page),
    }


def test_card_and_bom_print_or_write(
    tmp_path: Path, bundle: Path, signed: Signed, capsys: pytest.CaptureFixture[str]
) -> None:
    trust(signed)

    codes = [typed("report", "card", bundle)]
    printed = capsys.readouterr().out
    codes += [typed("report", "bom", bundle, "-o", tmp_path / "bom.json")]

    assert codes == [0, 0]
    assert printed.startswith("## Training-stage audit\n")
    found = json.loads((tmp_path / "bom.json").read_text())
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    assert found["components"][0]["properties"][1]["value"] == report_id(signed.bundle)
