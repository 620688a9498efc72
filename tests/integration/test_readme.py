"""What the README and the first pages of the guide show is run as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from auditor.effects import Tool, ToolFile
from auditor.plan.check_query_fields import check_fields
from auditor.stagelog.digest import Digest, sha256
from service.cli.request_file import resolve_request
from tests.support.builders import make_stage_log
from tests.support.guides import blocks, run_page, user_environment
from tests.support.house import ROOT


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return user_environment(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/howto/quickstart.md", "docs/howto/bisect.md"])
def test_page_runs_as_written(page: str, tmp_path: Path, environment: dict[str, str]) -> None:
    folder = tmp_path / "work"
    folder.mkdir()

    run_page(page, folder, environment)


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_python_of_the_audit_guide_runs(tmp_path: Path, environment: dict[str, str]) -> None:
    for _, text in blocks("docs/howto/audit.md", "python"):
        subprocess.run([sys.executable, "-c", text], cwd=tmp_path, env=environment, check=True)

    assert (tmp_path / "heldout" / "evalset.json").is_file()


class AnyPlaces:
    """Places that name every path by its last part."""

    def log(self, folder: Path) -> Digest:
        return sha256(folder.name.encode())

    def evaluation_set(self, path: Path) -> Digest:
        return sha256(path.name.encode())

    def model(self, path: Path) -> Digest:
        return sha256(path.name.encode())

    def metric(self, path: Path) -> Digest:
        return sha256(path.name.encode())


def test_request_of_the_audit_guide_is_valid(tmp_path: Path) -> None:
    for name in ("heldout", "with-patch", "without-patch", "clean"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "model.safetensors").touch()
    make_stage_log(folder=tmp_path / "runs/42")
    (policy,) = (
        text for _, text in blocks("docs/howto/gate-a-release.md", "yaml") if "rules:" in text
    )
    (tmp_path / "policy.yaml").write_text(policy)
    text = blocks("docs/howto/audit.md", "yaml")[0][1].replace("source: vendor-b", "source: vendor")

    request = resolve_request(yaml.safe_load(text), base=tmp_path, places=AnyPlaces())

    assert len(request.queries) == 3
    assert request.policy_digest is not None
    assert [intervention.kind for intervention in request.interventions] == [
        "skip", "fade", "replace", "drop", "skip", "change", "joint",
    ]  # fmt: skip


def test_queries_of_the_audit_guide_are_valid(tmp_path: Path) -> None:
    for name in ("runs/42", "heldout", "chats"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("brier.onnx", "evaluate.py"):
        (tmp_path / name).touch()
    whole = {"log": "runs/42", "interventions": "stages"}
    tool = Tool(
        name="toxigen", command=("x",), files=(ToolFile(name="x", digest=sha256(b"")),)
    )  # fmt: skip

    found = [
        resolve_request(
            {**whole, **yaml.safe_load(text)}, base=tmp_path, places=AnyPlaces(),
            tools={"toxigen": tool},
        )
        for _, text in blocks("docs/howto/audit.md", "yaml")[1:]
        if "\nqueries:" in f"\n{text}"
    ]  # fmt: skip

    kinds = [query.kind.value for request in found for query in request.queries]
    assert kinds == [
        "auroc", "ece", "accuracy_gap", "equalised_odds", "worst_group", "log_likelihood", "score",
        "metric", "outside",
    ]  # fmt: skip
    for request in found:
        for query in request.queries:
            check_fields(query, where="queries[0]")


def test_links_of_the_pages_lead_somewhere() -> None:
    pages = (
        "README.md", "docs/howto/quickstart.md", "docs/howto/audit.md", "docs/howto/repair.md",
        "docs/howto/bisect.md", "docs/howto/add-an-estimator.md", "docs/howto/read-a-report.md",
        "docs/estimators.md",
        "docs/decisions/README.md", "docs/decisions/0008-default-estimator-and-its-interval.md",
    )  # fmt: skip
    missing = [
        f"{page}: {link}"
        for page in pages
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text())
        if not ((ROOT / page).parent / link).exists()
    ]

    assert missing == []
