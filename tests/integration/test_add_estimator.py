"""The guide is followed: its file and its row, in a copy of the project, compared with torch."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from auditor.model.tensors import read_tensors
from auditor.stagelog.digest import Digest
from tests.support.builders import RecordedRun, make_columns, make_network, make_stage_log

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/howto/add-an-estimator.md"
FILE = re.compile(r"`(auditor/estimators/\w+\.py)`.*?^```python\n(.*?)^```$", re.M | re.S)
ROW = re.compile(r"^In `([\w/]+\.py)`.*?^```diff\n(.*?)^```$", re.M | re.S)
COPIED = ("auditor", "service", "benchmarks", "tests")
STAGE = 1
WEIGHT = 0.3
AUDIT = """
import json, sys
from auditor.audit.local import run_audit
from auditor.errors import AuditorError
from auditor.plan.request import AuditRequest
from auditor.stagelog.digest import canonical_bytes
from tests.support.builders import make_stage_log
from tests.support.memory_index import MemoryIndex

recorded = make_stage_log()
recorded.blobs.write(canonical_bytes(recorded.log))
query = {"name": "loss", "kind": "loss", "better": "lower", "data": recorded.evaluation}

def answered(asked):
    request = AuditRequest.model_validate_json(json.dumps({
        "log": recorded.digest,
        "queries": [query],
        "interventions": [{"kind": "skip", "stage": "stage1"}],
        **asked,
    }))
    try:
        report = run_audit(request, blobs=recorded.blobs, index=MemoryIndex(), device="cpu")
    except AuditorError as error:
        return {"where": error.where, "expected": error.expected}
    return {effect.intervention: effect.value for effect in report.effects}

print(json.dumps([answered(asked) for asked in json.loads(sys.argv[1])]))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project with the file and the row of the guide."""
    copy = tmp_path_factory.mktemp("project")
    for folder in COPIED:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    text = PAGE.read_text()
    [(path, source)] = FILE.findall(text)
    (copy / path).write_text(source)
    [(table, patch)] = ROW.findall(text)
    old, new = sides(patch)
    registry = (copy / table).read_text()
    assert registry.count(old) == 1
    (copy / table).write_text(registry.replace(old, new))
    return copy


def sides(patch: str) -> tuple[str, str]:
    """Return what a patch finds and what it leaves."""
    lines = patch.splitlines(keepends=True)
    return (
        "".join(line[1:] for line in lines if line[0] == " "),
        "".join(line[1:] for line in lines),
    )


def python(project: Path, *arguments: str) -> object:
    """Return the JSON that a program prints in the copy."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def expected_effect(recorded: RecordedRun) -> float:
    before, after, final = (parameters_at(recorded, at) for at in (STAGE, STAGE + 1, 3))
    without = {name: value - (after[name] - before[name]) for name, value in final.items()}
    removed = losses(final) - losses(without)
    return float((WEIGHT * removed + (1 - WEIGHT) * (losses(after) - losses(before))).mean())


def parameters_at(recorded: RecordedRun, boundary: int) -> dict[str, Tensor]:
    digest = recorded.log.boundary(boundary).parameters
    return read_tensors(recorded.blobs.read(Digest(digest)), where="checkpoint")


def losses(parameters: dict[str, Tensor]) -> Tensor:
    """Return the loss of every held-out example, [N], by plain torch."""
    network = make_network()
    network.load_state_dict(parameters)
    columns = make_columns(examples=24, seed=999)
    x, label = columns["x"], columns["label"]
    assert isinstance(x, Tensor)
    assert isinstance(label, Tensor)
    with torch.no_grad():
        return torch.nn.functional.cross_entropy(network(x), label, reduction="none")


def test_an_audit_asks_the_new_estimator_and_its_limits_hold(project: Path) -> None:
    fade = {"kind": "fade", "stage": "stage1", "alpha": 0.5}
    asked: list[dict[str, object]] = [
        {"estimator": {"id": "baseline_blend", "weight": WEIGHT}},
        {"estimator": {"id": "baseline_blend", "weight": 2.0}},
        {"estimator": {"id": "baseline_blend", "depth": 2}},
        {"estimator": {"id": "baseline_blend"}, "interventions": [fade]},
    ]

    answers = python(project, "-c", AUDIT, json.dumps(asked))

    expected = expected_effect(make_stage_log())
    assert isinstance(answers, list)
    assert answers[0] == {f"skip stage{STAGE}": pytest.approx(expected, rel=1e-9)}
    assert abs(expected) > 1e-3
    assert [refused["where"] for refused in answers[1:]] == [
        "estimator.weight",
        "estimator.depth",
        "interventions[0].kind",
    ]
    assert answers[3]["expected"] == "a skip of a whole stage for baseline_blend"


def test_the_command_line_and_the_benchmark_know_it(project: Path) -> None:
    listed = python(
        project, "-c", "from service.cli.main import run; run()", "estimators", "--json"
    )
    judged = python(
        project,
        "-c",
        "import json; from benchmarks.fidelity.estimators import ESTIMATORS; "
        "print(json.dumps(list(ESTIMATORS)))",
    )

    assert isinstance(listed, dict)
    [row] = [row for row in listed["estimators"] if row["id"] == "baseline_blend"]
    assert (row["level"], row["interventions"], row["status"]) == (0, "skip", "experimental")
    assert isinstance(judged, list)
    assert "baseline_blend" in judged
