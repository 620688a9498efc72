"""Reports of a real service that were changed, are of another kind or by another key."""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from auditor.attest.envelope import sign
from auditor.attest.keys import generate_key, load_signer
from auditor.attest.trust import TrustFile, trust_key
from auditor.attest.verify import verify_bundle
from auditor.errors import ArtifactMissingError, VerificationError
from auditor.stagelog.digest import canonical_bytes
from service.cli.main import run as run_command
from service.executors.local import DEFAULT_ENGINE
from tests.support.builders import make_stage_log
from tests.support.job_service import make_request, push_run
from tests.support.refusals import refused
from tests.support.served import Served, served

OTHER_TYPE = "https://stageaudit.dev/attestation/repair/v1"


@dataclass(frozen=True)
class Issued:
    """A report that a service signed, the files it is about and the service's keys."""

    bundle: bytes
    manifest: Path
    service: Served

    @property
    def public_key(self) -> Path:
        return self.service.config.keys_dir / "signing.pub.pem"

    @property
    def trust(self) -> TrustFile:
        return TrustFile(keys=(trust_key(self.public_key.read_text(), name="service"),))


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issued]:
    folder = tmp_path_factory.mktemp("recorded") / "log"
    run = make_stage_log(stages=2, steps=2, folder=folder)
    with (
        served(tmp_path_factory.mktemp("served"), engine=DEFAULT_ENGINE) as service,
        service.client() as client,
    ):
        push_run(client, run, folder)
        audit = client.wait(client.create_audit(make_request(run)))
        bundle = client.get_report(audit["report"])
        yield Issued(bundle=bundle, manifest=folder / "stagelog.json", service=service)


def flipped(issued: Issued) -> bytes:
    """Change one bit of one figure's digit, deep inside the signed payload."""
    document = json.loads(issued.bundle)
    payload = bytearray(base64.b64decode(document["dsseEnvelope"]["payload"]))
    payload[payload.index(b'"value":') + len(b'"value":') + 3] ^= 1
    document["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    return canonical_bytes(document)


def of_another_type(issued: Issued) -> bytes:
    """Return a statement of another type, signed by the service's own key."""
    document = json.loads(issued.bundle)
    statement = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
    statement["predicateType"] = OTHER_TYPE
    private = (issued.service.config.keys_dir / "signing.pem").read_bytes()
    return signed_by(document, statement, private)


def by_an_unknown_key(issued: Issued) -> bytes:
    document = json.loads(issued.bundle)
    statement = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
    return signed_by(document, statement, generate_key().private_pem)


def signed_by(document: dict[str, Any], statement: dict[str, Any], private_pem: bytes) -> bytes:
    envelope = sign(canonical_bytes(statement), load_signer(private_pem))
    document["dsseEnvelope"] = envelope
    hint = envelope["signatures"][0]["keyid"]
    document["verificationMaterial"]["publicKey"]["hint"] = hint
    return canonical_bytes(document)


CASES: dict[str, tuple[Callable[[Issued], bytes], str, int, str]] = {
    "one bit": (flipped, "SIGNATURE_INVALID", 3, "signature"),
    "another type": (of_another_type, "DOCUMENT_REFUSED", 7, OTHER_TYPE),
    "unknown key": (by_an_unknown_key, "SIGNATURE_INVALID", 3, "key"),
}


@pytest.mark.parametrize(("forge", "code", "status", "word"), CASES.values(), ids=CASES.keys())
def test_changed_report_does_not_verify(
    issued: Issued, tmp_path: Path, capsys: pytest.CaptureFixture[str], *,
    forge: Callable[[Issued], bytes], code: str, status: int, word: str,
) -> None:  # fmt: skip
    bundle = forge(issued)
    (tmp_path / "report.json").write_bytes(bundle)

    with pytest.raises(VerificationError) as caught:
        verify_bundle(bundle, issued.trust, files={}, allow_missing=frozenset())
    with pytest.raises(SystemExit) as ended:
        run_command([
            "verify",
            str(tmp_path / "report.json"),
            "--key",
            str(issued.public_key),
            "--json",
        ])

    error = caught.value
    assert error.code == code
    assert word in f"{error.where} {error.expected} {error.found}"
    assert error.remedy.endswith(".")
    said = capsys.readouterr()
    assert ended.value.code == status
    assert json.loads(said.out)["verified"] is False
    assert json.loads(said.err)["error"] == {
        "code": code, "where": error.where, "expected": error.expected, "found": error.found,
        "remedy": error.remedy, "exit_code": status,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["stagelog.json", "unheard-of.bin"])
def test_report_about_other_files_does_not_verify(
    issued: Issued, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "report.json").write_bytes(issued.bundle)
    (tmp_path / name).write_bytes(issued.manifest.read_bytes() + b" ")

    with pytest.raises(SystemExit) as ended:
        run_command([
            "verify", str(tmp_path / "report.json"), str(tmp_path / name),
            "--key", str(issued.public_key),
        ])  # fmt: skip

    assert ended.value.code == 4
    assert name in capsys.readouterr().err


def test_report_as_issued_verifies(issued: Issued) -> None:
    verified = verify_bundle(issued.bundle, issued.trust, files={}, allow_missing=frozenset())

    assert verified.report.effects


def test_unknown_report_is_missing(issued: Issued) -> None:
    with (
        issued.service.client() as client,
        refused(issued.service, client) as refusal,
    ):
        client.get_report("f" * 64)

    name = f"report {'f' * 64}"
    refusal.says(ArtifactMissingError, name, expected="a report of this tenant", found="none")
