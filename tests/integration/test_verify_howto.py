"""docs/howto/verify.md: its recipes of commands and of securesystemslib do what the page says."""

import base64
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from auditor.attest.keys import KeyAlgorithm, generate_key
from auditor.attest.timestamp import granted_response, prove_time, timestamp_query
from auditor.attest.trust import TrustFile, format_trust
from auditor.report.schema import RunFacts
from service.cli.main import run
from tests.support.recipes import read_recipe
from tests.support.reports import LOG_BYTES, MODEL_BYTES, Signed, make_report, make_signed
from tests.support.time_server import Given, time_server
from tests.support.timestamps import Authority

PAGE = "docs/howto/verify.md"


def lay_out(folder: Path, signed: Signed) -> None:
    """Write what the page takes for granted: the report, its files, and the signer's key."""
    files = {
        "report.sigstore.json": signed.bundle,
        "signer.pub.pem": signed.pair.public_pem.encode(),
        "stagelog.json": LOG_BYTES,
        "model.safetensors": MODEL_BYTES,
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)


def follow(recipe: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Run the recipe's commands in this process; return what each printed."""
    printed = []
    for line in read_recipe(PAGE, recipe).splitlines():
        program, *arguments = shlex.split(os.path.expandvars(line))
        assert program == "stageaudit"
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run(arguments)
        said = capsys.readouterr()
        assert ended.value.code == 0, (line, said.out, said.err)
        printed.append(said.out)
    return printed


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


@pytest.mark.tool("openssl")
def test_report_is_stamped_as_the_page_says(
    folder: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    # The page's authority allows a day between date and token: the date is the authority's own.
    answer = granted_response(authority.answer(timestamp_query(b"what time is it?")))
    now = prove_time(
        answer, b"what time is it?", authorities=[authority.entry()], where="token"
    ).moment
    run_facts = RunFacts(created=now.isoformat(), id="run-1", mode="local")
    signed = make_signed(report=make_report(run=run_facts))
    lay_out(folder, signed)
    (folder / "authority.pem").write_text(authority.chain)
    (folder / "config" / "stageaudit").mkdir(parents=True)
    trust = folder / "config" / "stageaudit" / "trust.json"
    trust.write_bytes(format_trust(TrustFile(keys=(signed.entry,))))

    with time_server(Given(authority.answer)) as url:
        monkeypatch.setenv("AUTHORITY", url)
        printed = follow("timestamp", capsys)

    assert "ok 5 time-stamp tokens: signed before" in printed[-1]
    for name in ("openssl", "openssl-token"):
        done = subprocess.run(
            ["sh", "-c", read_recipe(PAGE, name)],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert now.strftime("Time stamp: %b") in done.stdout


def test_report_is_reviewed_as_the_page_says(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_out(folder, make_signed())

    printed = follow("review", capsys)

    assert "assurance: third_party" in printed[-1]


def verify_dsse(folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "verify_dsse.py").write_text(read_recipe(PAGE, "securesystemslib"))
    return subprocess.run(
        [sys.executable, "verify_dsse.py", "report.sigstore.json", "signer.pub.pem"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("algorithm", list(KeyAlgorithm))
def test_securesystemslib_verifies_the_envelope(tmp_path: Path, algorithm: KeyAlgorithm) -> None:
    lay_out(tmp_path, make_signed(algorithm=algorithm))

    done = verify_dsse(tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["predicateType"].endswith("/attestation/report/v1")


def test_securesystemslib_refuses_another_key_and_another_payload(tmp_path: Path) -> None:
    signed = make_signed()
    lay_out(tmp_path, signed)
    (tmp_path / "signer.pub.pem").write_text(generate_key().public_pem)
    assert "Accepted signatures do not match" in verify_dsse(tmp_path).stderr

    lay_out(tmp_path, signed)
    document = json.loads(signed.bundle)
    payload = base64.b64decode(document["dsseEnvelope"]["payload"]).replace(b"cue", b"due")
    document["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    (tmp_path / "report.sigstore.json").write_text(json.dumps(document))
    assert "Accepted signatures do not match" in verify_dsse(tmp_path).stderr
