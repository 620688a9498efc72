"""The schema and the server for clients that nobody here wrote."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.rpc import error_details_pb2

from tests.support.served import Served, served

ROOT = Path(__file__).parents[2]
BUF = Path(sys.executable).parent / "buf"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a descriptor image, as docs/reference/wire.md shows."""
    path = tmp_path_factory.mktemp("image") / "image.binpb"
    generate("--image", str(path))
    return path


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served")) as running:
        yield running


def generate(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-P", str(ROOT / "proto" / "generate.py"), *arguments],
        check=True,
        capture_output=True,
    )


def buf(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {"HOME": str(cwd), "BUF_CACHE_DIR": str(cwd / "cache")}
    return subprocess.run(
        [str(BUF), *arguments], check=False, capture_output=True, text=True, cwd=ROOT,
        env=environment,
    )  # fmt: skip


def list_audits(service: Served, image: Path, *, token: str) -> subprocess.CompletedProcess[str]:
    return buf(
        "curl", "--protocol", "grpc", "--http2-prior-knowledge", "--schema", str(image),
        "--header", f"authorization: Bearer {token}",
        "--data", '{"parent": "tenants/default"}',
        f"http://{service.address.address}/stageaudit.v1.AuditService/ListAudits",
        cwd=image.parent,
    )  # fmt: skip


def test_generated_code_is_fresh() -> None:
    generate("--check")


def test_schema_follows_the_style_rules(image: Path) -> None:
    result = buf("lint", str(image), "--path", "stageaudit", cwd=image.parent)

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_schema_breaks_no_client_of_the_baseline(image: Path) -> None:
    baseline = ROOT / "proto" / "baseline.binpb"

    result = buf(
        "breaking", str(image), "--against", str(baseline), "--path", "stageaudit",
        cwd=image.parent,
    )  # fmt: skip

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_generic_client_lists_audits(service: Served, image: Path) -> None:
    result = list_audits(service, image, token=service.token)

    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {}


def test_generic_client_reads_the_reason_of_a_refusal(service: Served, image: Path) -> None:
    wrong = "sa_wrong"

    result = list_audits(service, image, token=wrong)

    assert result.returncode == 8 * 16  # buf's exit code is 8 times the gRPC code
    said = json.loads(result.stderr)
    assert said["code"] == "unauthenticated"
    info = error_details_pb2.ErrorInfo()
    encoded = said["details"][0]["value"]
    info.ParseFromString(base64.b64decode(encoded + "=" * (-len(encoded) % 4)))
    assert (info.reason, info.domain) == ("UNAUTHENTICATED", "stageaudit.dev")
