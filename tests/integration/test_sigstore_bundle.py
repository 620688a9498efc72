"""Sigstore's own code parses and verifies our bundles."""

import base64
import json
import subprocess
from pathlib import Path

import pytest
from sigstore_models.bundle.v1 import Bundle

from auditor.attest.bundle import assemble, attach_token, parse_bundle
from auditor.attest.keys import KeyAlgorithm, generate_key
from auditor.attest.statement import build_statement
from tests.support.house import ROOT
from tests.support.recipes import read_recipe
from tests.support.reports import SUBJECTS, make_report, make_signed
from tests.support.timestamps import Authority, make_authority

RECIPE = read_recipe("docs/howto/verify.md", "sigstore")
MODULES = ROOT / ".tools" / "node_modules"

needs_sigstore = pytest.mark.skipif(
    not (MODULES / "@sigstore" / "verify").is_dir(), reason="needs the npm package @sigstore/verify"
)


@pytest.mark.parametrize("algorithm", list(KeyAlgorithm))
def test_sigstores_models_parse_the_bundle(algorithm: KeyAlgorithm) -> None:
    signed = make_signed(algorithm=algorithm)

    bundle = Bundle.from_json(signed.bundle)

    assert bundle.media_type == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert bundle.verification_material.public_key is not None
    assert bundle.verification_material.public_key.hint == signed.pair.keyid
    assert bundle.dsse_envelope is not None
    assert bundle.dsse_envelope.payload_type == "application/vnd.in-toto+json"
    assert bundle.dsse_envelope.payload == build_statement(make_report(), SUBJECTS)
    assert len(bundle.dsse_envelope.signatures) == 1


def test_sigstores_models_parse_a_time_stamp_token() -> None:
    signed = make_signed()
    envelope = json.loads(signed.bundle)["dsseEnvelope"]

    bundle = Bundle.from_json(assemble(envelope, keyid=signed.pair.keyid, timestamps=(b"token",)))

    timestamps = bundle.verification_material.timestamp_verification_data
    assert timestamps is not None
    assert [token.signed_timestamp for token in timestamps.rfc3161_timestamps] == [b"token"]


def run_recipe(
    folder: Path, bundle: bytes, public_pem: str, *, authority: str = ""
) -> subprocess.CompletedProcess[str]:
    (folder / "verify.cjs").write_text(RECIPE)
    (folder / "report.sigstore.json").write_bytes(bundle)
    (folder / "signer.pub.pem").write_text(public_pem)
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(MODULES)
    (folder / "authority.pem").write_text(authority)
    certificates = ["authority.pem"] if authority else []
    return subprocess.run(
        ["node", "verify.cjs", "report.sigstore.json", "signer.pub.pem", *certificates],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.tool("node")
@needs_sigstore
@pytest.mark.parametrize("algorithm", list(KeyAlgorithm))
def test_sigstores_verifier_accepts_the_bundle(tmp_path: Path, algorithm: KeyAlgorithm) -> None:
    signed = make_signed(algorithm=algorithm)

    result = run_recipe(tmp_path, signed.bundle, signed.pair.public_pem)

    assert (result.returncode, result.stderr) == (0, "")
    printed = json.loads(result.stdout)
    assert printed["predicateType"] == "https://stageaudit.dev/attestation/report/v1"
    assert [subject["name"] for subject in printed["subject"]] == [s.name for s in SUBJECTS]


@pytest.mark.tool("node")
@needs_sigstore
@pytest.mark.parametrize("algorithm", list(KeyAlgorithm))
def test_sigstores_verifier_refuses_another_payload(
    tmp_path: Path, algorithm: KeyAlgorithm
) -> None:
    signed = make_signed(algorithm=algorithm)
    document = json.loads(signed.bundle)
    other = build_statement(make_report(purpose="another"), SUBJECTS)
    document["dsseEnvelope"]["payload"] = base64.b64encode(other).decode()

    result = run_recipe(tmp_path, json.dumps(document).encode(), signed.pair.public_pem)

    assert result.returncode != 0
    assert "SIGNATURE_ERROR" in result.stderr


@pytest.mark.tool("node")
@needs_sigstore
def test_sigstores_verifier_refuses_another_key(tmp_path: Path) -> None:
    result = run_recipe(tmp_path, make_signed().bundle, generate_key().public_pem)

    assert result.returncode != 0
    assert "signed by another key" in result.stderr


@pytest.mark.tool("node")
@pytest.mark.tool("openssl")
@needs_sigstore
@pytest.mark.parametrize("key", ["ec", "rsa"])
def test_sigstores_verifier_accepts_our_time_stamps(tmp_path: Path, key: str) -> None:
    (tmp_path / "authority").mkdir()
    authority = make_authority(tmp_path / "authority", key=key)
    signed = make_signed()
    stamped = authority.stamp(signed.bundle)
    public = signed.pair.public_pem

    result = run_recipe(tmp_path, stamped, public, authority=authority.chain)

    assert (result.returncode, result.stderr) == (0, "")
    unstamped = run_recipe(tmp_path, signed.bundle, public, authority=authority.chain)
    assert "expected 1 timestamps, got 0" in unstamped.stderr


@pytest.mark.tool("node")
@pytest.mark.tool("openssl")
@needs_sigstore
def test_sigstores_verifier_refuses_a_token_of_another_signature(
    tmp_path: Path, authority: Authority
) -> None:
    token = parse_bundle(authority.stamp(make_signed().bundle)).tokens[0]
    signed = make_signed()

    result = run_recipe(
        tmp_path,
        attach_token(signed.bundle, token),
        signed.pair.public_pem,
        authority=authority.chain,
    )

    assert "TIMESTAMP_ERROR" in result.stderr
