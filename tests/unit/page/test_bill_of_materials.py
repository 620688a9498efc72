"""The bill of materials is one by CycloneDX's own schema, and says what the report says."""

import json
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from auditor.page.bill_of_materials import bill_of_materials
from auditor.page.facts import PageFacts
from auditor.report.schema import Report, RunFacts
from auditor.stagelog.digest import sha256
from tests.support.reports import MODEL_BYTES, SIGNED_AT, make_report
from tests.support.rich_report import make_repair, make_rich_report

REPORTS = {
    "plain": make_report(),
    "rich": make_rich_report("cue"),
    "repair": make_rich_report("cue", repair=make_repair("cue")),
    "odd": make_rich_report("\N{RIGHT-TO-LEFT OVERRIDE}<b> \U0001f600 'x'"),
    "undated": make_report(run=None),
}


def bill(report: Report, facts: PageFacts | None = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bill_of_materials(report, facts or PageFacts()))
    return found


@pytest.mark.parametrize("name", REPORTS)
def test_bill_follows_the_official_schema(name: str) -> None:
    text = bill_of_materials(REPORTS[name], PageFacts(report_id=sha256(b"x"), signer="s"))

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_official_schema_refuses_what_is_no_bill() -> None:
    wrong = bill(make_report()) | {"components": [{"type": "model"}]}

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(wrong)) is not None


def test_bill_names_the_model_by_its_digest_and_dates_itself_as_the_report() -> None:
    found = bill(make_report())

    model = found["components"][0]
    assert model["hashes"] == [{"alg": "SHA-256", "content": sha256(MODEL_BYTES)}]
    assert found["metadata"]["timestamp"] == SIGNED_AT.isoformat()


def test_bill_has_values_effects_with_intervals_and_limitations() -> None:
    card = bill(make_report())["components"][0]["modelCard"]

    value, effect = card["quantitativeAnalysis"]["performanceMetrics"]
    assert value == {
        "type": "cue",
        "value": "0.5",
        "slice": "100 examples; probability, lower is better",
    }
    assert effect["type"] == "effect on cue"
    assert effect["slice"] == "skip vendor; probability, effect: worse"
    assert effect["confidenceInterval"] == {"lowerBound": "0.125", "upperBound": "0.375"}
    assert card["considerations"]["technicalLimitations"] == [
        "This is a statement about computation."
    ]


def test_bill_of_a_repair_is_about_the_repaired_model() -> None:
    model = bill(REPORTS["repair"])["components"][0]

    assert model["hashes"][0]["content"] == sha256(b"repaired")
    metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert [metric["value"] for metric in metrics] == ["0.75", "0.03125"]


def test_bill_says_whether_the_signature_was_verified() -> None:
    properties = {p["name"]: p["value"] for p in bill(make_report())["components"][0]["properties"]}

    assert "was NOT verified" in properties["stageaudit:signature"]


def test_time_that_is_none_is_left_out() -> None:
    report = make_report(run=RunFacts(created="yesterday", id="x", mode="local"))

    assert "timestamp" not in bill(report)["metadata"]
