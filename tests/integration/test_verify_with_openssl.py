"""The documented OpenSSL recipe verifies our reports, and refuses what was altered."""

import json
import subprocess
from pathlib import Path

import pytest

from auditor.attest.keys import KeyAlgorithm, generate_key
from tests.support.recipes import read_recipe
from tests.support.reports import LOG_BYTES, MODEL_BYTES, make_effect, make_report, make_signed

pytestmark = pytest.mark.tool("openssl")

RECIPE = read_recipe("docs/howto/verify.md", "openssl")


class Folder:
    """The folder the recipe runs in."""

    def __init__(self, path: Path, algorithm: KeyAlgorithm, *, effects: int = 1) -> None:
        self.path = path
        report = make_report(effects=tuple(make_effect(value=float(i)) for i in range(effects)))
        signed = make_signed(report=report, algorithm=algorithm)
        self.write("report.sigstore.json", signed.bundle)
        self.write("signer.pub.pem", signed.pair.public_pem.encode())
        self.write("stagelog.json", LOG_BYTES)
        self.write("model.safetensors", MODEL_BYTES)

    def write(self, name: str, data: bytes) -> None:
        (self.path / name).write_bytes(data)

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def run(self) -> subprocess.CompletedProcess[str]:
        """Run the recipe as the page has it."""
        return subprocess.run(
            ["sh", "-c", RECIPE], cwd=self.path, capture_output=True, text=True, check=False
        )


@pytest.fixture(params=list(KeyAlgorithm))
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    return Folder(tmp_path, request.param)


def test_recipe_verifies(folder: Folder) -> None:
    result = folder.run()

    assert result.returncode == 0, result.stderr
    assert "verified: the report is" in result.stdout
    assert json.loads(folder.read("payload.json"))["predicate"] == make_report_as_json()


def test_recipe_verifies_a_large_report(tmp_path: Path) -> None:
    folder = Folder(tmp_path, KeyAlgorithm.ED25519, effects=5000)

    assert folder.run().returncode == 0


def test_recipe_refuses_a_flipped_byte_of_the_payload(folder: Folder) -> None:
    data = bytearray(folder.read("report.sigstore.json"))
    data[data.index(b'"payload":"') + 40] ^= 1
    folder.write("report.sigstore.json", bytes(data))

    result = folder.run()

    assert result.returncode != 0
    assert "verified" not in result.stdout


def test_recipe_refuses_another_key(folder: Folder) -> None:
    folder.write("signer.pub.pem", generate_key().public_pem.encode())

    assert folder.run().returncode != 0


def test_recipe_refuses_another_key_under_the_signers_name(folder: Folder) -> None:
    stranger = generate_key()
    hint = json.loads(folder.read("report.sigstore.json"))["verificationMaterial"]["publicKey"]
    renamed = folder.read("report.sigstore.json").replace(
        hint["hint"].encode(), stranger.keyid.encode()
    )
    folder.write("report.sigstore.json", renamed)
    folder.write("signer.pub.pem", stranger.public_pem.encode())

    assert folder.run().returncode != 0


@pytest.mark.parametrize("name", ["stagelog.json", "model.safetensors"])
def test_recipe_refuses_an_altered_file(folder: Folder, name: str) -> None:
    folder.write(name, folder.read(name) + b"\n")

    assert folder.run().returncode != 0


def make_report_as_json() -> object:
    """Return the report the folder holds, as its readers see it."""
    report = make_report(effects=(make_effect(value=0.0),))
    return report.model_dump(mode="json", by_alias=True, exclude_none=True)
