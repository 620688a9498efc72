"""``stageaudit demo`` from end to end; its artifacts work with the other commands."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_sigstore_bundle import MODULES, needs_sigstore
from tests.support.guides import run_page, user_environment
from tests.support.recipes import read_recipe

pytestmark = pytest.mark.slow


def stageaudit(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service.cli.main", *arguments]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, timeout=300
    )


@dataclass(frozen=True)
class Demo:
    """A finished demo."""

    folder: Path
    said: dict[str, Any]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo") / "kept"
    done = stageaudit("demo", "--keep", str(folder), "--json", cwd=folder.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    return Demo(folder=folder, said=json.loads(done.stdout))


def test_replace_names_the_stage_that_planted_the_cue(demo: Demo) -> None:
    cue = {
        row["stage"]: row
        for row in demo.said["rows"]
        if (row["query"], row["kind"]) == ("corner cue", "replace")
    }
    others = [abs(cue[stage]["value"]) for stage in ("pretrain", "finetune")]

    assert cue["vendor"]["value"] >= 3 * max(others)
    assert cue["vendor"]["low"] <= cue["vendor"]["truth"] <= cue["vendor"]["high"]
    assert all(claim["holds"] for claim in demo.said["claims"])


def test_skip_would_have_blamed_a_clean_stage(demo: Demo) -> None:
    rows = {(row["query"], row["kind"], row["stage"]): row for row in demo.said["rows"]}

    skip = rows["corner cue", "skip", "pretrain"]
    assert skip["low"] > 0
    assert skip["truth"] > 3 * abs(rows["corner cue", "replace", "pretrain"]["truth"])


def test_most_intervals_hold_the_exact_truth(demo: Demo) -> None:
    inside = [row["inside"] for row in demo.said["rows"]]

    assert len(inside) == 12
    # Two rows are exact by construction. Of ten 90 % intervals, five or more miss once in
    # 600 tables.
    assert sum(inside) >= 8


def test_kept_report_verifies_with_the_command(demo: Demo) -> None:
    done = stageaudit(
        "verify", "report.json", "log/stagelog.json", "model.safetensors",
        "--key", "service/keys/signing.pub.pem", "--json", cwd=demo.folder,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verified"]


def verifier_we_did_not_write(name: str) -> list[str]:
    """Return the command that runs a recipe of the page on verifying in the demo's folder."""
    text = read_recipe("docs/howto/verify.md", name)
    report, key = "report.json", "service/keys/signing.pub.pem"
    match name:
        case "openssl":
            # The page names the files otherwise, and has them all in one folder.
            text = text.replace("bundle=report.sigstore.json", f"bundle={report}")
            text = text.replace("key=signer.pub.pem", f"key={key}")
            return ["sh", "-c", text.replace("for file in stagelog.json", "for file in")]
        case "sigstore":
            return ["node", "-e", text.replace("slice(2)", "slice(1)"), report, key]
        case _:
            return [sys.executable, "-c", text, report, key]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("openssl", marks=pytest.mark.tool("openssl")),
        pytest.param("sigstore", marks=[pytest.mark.tool("node"), needs_sigstore]),
        "securesystemslib",
    ],
)
def test_kept_report_verifies_with_verifiers_we_did_not_write(demo: Demo, name: str) -> None:
    done = subprocess.run(
        verifier_we_did_not_write(name),
        cwd=demo.folder, capture_output=True, text=True, check=False,
        env={**os.environ, "NODE_PATH": str(MODULES)},
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    assert "Signature Verified" in done.stdout or "attestation/report/v1" in done.stdout


def test_kept_request_is_answered_again_here_with_the_exact_truth(demo: Demo) -> None:
    done = stageaudit(
        "audit", "request.yaml", "--local", "log", "--estimator", "retrain", "--json",
        cwd=demo.folder,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    exact = {
        (effect["query"], effect["kind"], effect["stage"]): effect["value"]
        for effect in json.loads(done.stdout)["effects"]
    }
    for row in demo.said["rows"]:
        key = (row["query"], row["kind"], row["stage"])
        # Two float32 programs that add in another order.
        assert exact[key] == pytest.approx(row["truth"], rel=1e-3, abs=1e-3)


def test_demo_does_not_overwrite_a_folder(demo: Demo) -> None:
    done = stageaudit("demo", "--keep", str(demo.folder), cwd=demo.folder)

    assert done.returncode == 7
    assert "empty or new folder" in done.stderr


@pytest.mark.parametrize("page", ["docs/howto/repair.md", "docs/howto/reproduce.md"])
def test_pages_that_go_on_from_the_demo_run_as_written(
    page: str, demo: Demo, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()

    run_page(page, folder, user_environment(tmp_path, demo=demo.folder))
