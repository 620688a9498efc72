"""``stageaudit verify``: what it prints and the exit code it leaves with."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from auditor.attest.bundle import BUNDLE_LIMIT_BYTES, report_id
from auditor.attest.keys import generate_key
from auditor.attest.trust import KeyStatus, TrustFile, format_trust
from auditor.attest.verify import CHECKS
from auditor.report.schema import Limitation
from service.cli.main import run
from tests.support import house
from tests.support.reports import (
    LOG_BYTES,
    MODEL_BYTES,
    Signed,
    make_report,
    make_signed,
    make_trusted,
)


class Desk:
    """A reader's folder: bundle, trust file, public key and the files of the report."""

    def __init__(self, folder: Path, signed: Signed) -> None:
        self.signed = signed
        self.bundle = folder / "report.sigstore.json"
        self.trust = folder / "trust.json"
        self.key = folder / "signer.pub.pem"
        self.log = folder / "stagelog.json"
        self.model = folder / "model.safetensors"
        self.bundle.write_bytes(signed.bundle)
        self.trust.write_bytes(format_trust(signed.trust))
        self.key.write_text(signed.pair.public_pem)
        self.log.write_bytes(LOG_BYTES)
        self.model.write_bytes(MODEL_BYTES)

    def verify(self, *arguments: object) -> int:
        """Run the command with the trust file and return its exit code."""
        return leave("verify", self.bundle, "--trust", self.trust, *arguments)


def leave(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        run([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, make_signed())


def test_verified_report_prints_checks_and_limitations(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    code = desk.verify(desk.log, desk.model)

    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert [line.split(":")[0] for line in lines[: len(CHECKS)]] == [
        f"ok {number} {name}" for number, name in enumerate(CHECKS, start=1)
    ]
    assert f"Verified report {report_id(desk.signed.bundle)}" in lines
    assert "- This is a statement about computation. [not-legal]" in lines


def test_page_shows_the_checks_that_are_printed() -> None:
    page = (house.ROOT / "docs" / "howto" / "verify.md").read_text()

    shown = re.findall(r"^ok (\d+) ([^:]+): ", page, flags=re.MULTILINE)

    assert shown == [(str(number), name) for number, name in enumerate(CHECKS, start=1)]


def test_json_holds_the_same(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    code = desk.verify(desk.log, "--allow-missing", "model.safetensors", "--json")

    printed = json.loads(capsys.readouterr().out)
    assert code == 0
    assert printed["verified"] is True
    assert printed["report_id"] == report_id(desk.signed.bundle)
    assert [subject["outcome"] for subject in printed["subjects"]] == [
        "matches",
        "missing, allowed",
    ]
    assert printed["limitations"] == [
        {"id": "not-legal", "text": "This is a statement about computation."}
    ]


def test_without_files_subjects_are_not_compared(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.verify() == 0
    assert "stagelog.json: not compared, model.safetensors: not compared" in capsys.readouterr().out


def test_public_key_replaces_the_trust_file(desk: Desk) -> None:
    assert leave("verify", desk.bundle, "--key", desk.key) == 0


def test_trust_file_of_the_configuration_folder_is_the_default(desk: Desk, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "service.cli.main", "verify", str(desk.bundle)]
    folder = tmp_path / "stageaudit"
    folder.mkdir()
    desk.trust.rename(folder / "trust.json")

    result = subprocess.run(
        command,
        cwd=house.ROOT,
        env={"XDG_CONFIG_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (result.returncode, result.stderr) == (0, "")


def test_file_under_another_name_is_named(desk: Desk, tmp_path: Path) -> None:
    renamed = desk.model.rename(tmp_path / "deployed.safetensors")

    assert desk.verify(desk.log, f"model.safetensors={renamed}") == 0
    assert desk.verify(desk.log, renamed) == 4


def test_missing_file_ends_with_4(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    code = desk.verify(desk.log)

    printed = capsys.readouterr()
    assert code == 4
    assert "no 9 subjects" in printed.out
    assert "--allow-missing model.safetensors" in printed.err


def test_altered_file_ends_with_4(desk: Desk) -> None:
    desk.model.write_bytes(MODEL_BYTES + b"x")

    assert desk.verify(desk.log, desk.model) == 4


def test_file_that_is_no_subject_ends_with_4(desk: Desk) -> None:
    assert desk.verify(desk.log, desk.model, desk.key) == 4


def test_flipped_byte_of_the_payload_ends_with_3(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(desk.signed.bundle)
    data[data.index(b'"payload":"') + 40] ^= 1
    desk.bundle.write_bytes(data)

    code = desk.verify("--json")

    printed = capsys.readouterr()
    assert code == 3
    assert json.loads(printed.out)["failed"] == "signature"
    assert json.loads(printed.err)["error"]["code"] == "SIGNATURE_INVALID"


def test_unknown_key_ends_with_3(desk: Desk) -> None:
    desk.trust.write_bytes(format_trust(TrustFile(keys=(make_trusted(generate_key()),))))

    assert desk.verify() == 3


def test_revoked_key_ends_with_3(desk: Desk) -> None:
    revoked = make_trusted(desk.signed.pair, status=KeyStatus.REVOKED)
    desk.trust.write_bytes(format_trust(TrustFile(keys=(revoked,))))

    assert desk.verify() == 3


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[" * 1000, b" " * (BUNDLE_LIMIT_BYTES + 10)], ids=len
)
def test_what_is_no_bundle_ends_with_7(desk: Desk, content: bytes) -> None:
    desk.bundle.write_bytes(content)

    assert desk.verify() == 7


def test_malformed_trust_file_ends_with_7(desk: Desk) -> None:
    desk.trust.write_text("[]")

    assert desk.verify() == 7


def test_wrong_usage_ends_with_2(desk: Desk, tmp_path: Path) -> None:
    assert leave("verify") == 2
    assert leave("verify", tmp_path / "none.json") == 2
    assert desk.verify("--key", desk.key) == 2
    assert leave("verify", desk.bundle, "--key", tmp_path / "none.pem") == 2
    assert leave("verify", desk.bundle, "--trust", tmp_path / "none.json") == 2
    assert desk.verify(tmp_path / "none.bin") == 2
    assert desk.verify(desk.log, f"stagelog.json={desk.model}") == 2


def test_missing_trust_file_says_what_to_do(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leave("verify", desk.bundle, "--trust", tmp_path / "none.json")

    # The message is wrapped in a box, whose lines depend on how long the path is.
    words = capsys.readouterr().err.replace("│", " ").split()
    assert "keys trust" in " ".join(words)


def test_text_of_others_cannot_drive_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = Limitation(id="x", text="[red]fine[/]\x1b[2J\rVerified")
    desk = Desk(tmp_path, make_signed(report=make_report(limitations=(hostile,))))

    desk.verify()

    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "\r" not in printed
    assert "[red]fine[/]" in printed


def test_verifier_imports_neither_arrays_nor_rpc() -> None:
    code = (
        "import sys, service.cli.verify\n"
        "heavy = {'torch', 'numpy', 'grpc', 'onnx', 'sqlalchemy', 'pyarrow'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )

    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=house.ROOT, capture_output=True, text=True, check=True
    )

    assert printed.stdout.strip() == "[]"


def test_verifier_opens_no_connection(desk: Desk) -> None:
    # securesystemslib imports boto3 where it is installed (extra [aws]), whose urllib3 makes and
    # binds a socket to learn whether the machine has IPv6; nothing is connected, asked or sent.
    code = (
        "import socket, sys\n"
        "local = {'socket.__new__', 'socket.bind'}\n"
        "def refuse(event): sys.exit(f'the network was used: {event}')\n"
        "sys.addaudithook(lambda event, _: \n"
        "    event.startswith('socket.') and event not in local and refuse(event))\n"
        "from service.cli.main import run\n"
        "run(sys.argv[1:])\n"
    )
    arguments: list[Any] = ["verify", desk.bundle, desk.log, desk.model, "--trust", desk.trust]

    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=house.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (result.returncode, result.stderr) == (0, "")
