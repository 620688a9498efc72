"""The published schemas are those of the code, and signed documents follow them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from auditor.attest.statement import build_statement
from auditor.attest.trust import TrustFile, format_trust
from auditor.report.schema import Report
from tests.support.house import ROOT
from tests.support.reports import SUBJECTS, make_effect, make_report, make_signed

REFERENCE = ROOT / "docs" / "reference"


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", str(folder / "generate.py"), "--check"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def validator(name: str) -> Draft202012Validator:
    schema = json.loads((REFERENCE / name).read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def predicate_of(report: Report) -> dict[str, Any]:
    predicate: dict[str, Any] = json.loads(build_statement(report, SUBJECTS))["predicate"]
    return predicate


def test_published_schemas_are_generated_from_the_code() -> None:
    result = check(REFERENCE)

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_check_names_a_file_that_differs(tmp_path: Path) -> None:
    for path in REFERENCE.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    (tmp_path / "report.schema.json").write_text("{}\n")

    result = check(tmp_path)

    assert (result.returncode, result.stdout) == (1, "stale: docs/reference/report.schema.json\n")


@pytest.mark.parametrize(
    "report",
    [make_report(), make_report(run=None), make_report(effects=(make_effect(value=2.0**60),))],
    ids=["usual", "without_run", "figure_as_text"],
)
def test_signed_report_follows_the_published_schema(report: Report) -> None:
    validator("report.schema.json").validate(predicate_of(report))


@pytest.mark.parametrize(
    "changes",
    [{"extra": 1}, {"effects": [{}]}, {"schema": "stageaudit.report.v2"}, {"request": "x"}],
    ids=lambda changes: next(iter(changes)),
)
def test_published_schema_refuses_other_documents(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        validator("report.schema.json").validate(predicate_of(make_report()) | changes)


def test_trust_file_follows_the_published_schema() -> None:
    trust = TrustFile(keys=(make_signed().entry,))

    validator("trust.schema.json").validate(json.loads(format_trust(trust)))
