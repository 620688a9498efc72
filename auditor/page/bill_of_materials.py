"""A report as a machine-learning bill of materials: CycloneDX 1.6 in JSON.

One component of type ``machine-learning-model`` with its model card; the log and the evaluation
sets as components of type ``data``. To merge it into another bill, take over ``components``.
"""

import json
from typing import Any, Final

from auditor.attest.trust import parse_time
from auditor.effects import Effect
from auditor.errors import InputError, printable
from auditor.page.direction import Direction, better_words, direction_of, verdict_words
from auditor.page.facts import PageFacts, assurance_words
from auditor.page.sections.head import report_sentence, signature_sentence
from auditor.report.schema import Report

MAX_METRICS: Final = 200
"""Established effects that are listed; the report has all."""

Plain = dict[str, Any]


def bill_of_materials(report: Report, facts: PageFacts) -> str:
    """Return the bill; deterministic, dated as the report is."""
    bill: Plain = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": _metadata(report),
        "components": [_model(report, facts), _log(report), *_data(report)],
    }
    return json.dumps(bill, indent=2, ensure_ascii=False) + "\n"


def _metadata(report: Report) -> Plain:
    tool = {"type": "application", "name": "stageaudit", "version": report.software.stageaudit}
    created = None if report.run is None else _moment(report.run.created)
    return {
        **({} if created is None else {"timestamp": created}),
        "tools": {"components": [tool]},
    }


def _moment(text: str) -> str | None:
    """Return a time in the form that the schema asks for; None for text that is none."""
    try:
        return parse_time(text, where="report.run.created").isoformat()
    except InputError:
        return None


def _model(report: Report, facts: PageFacts) -> Plain:
    digest = report.model.digest if report.repair is None else report.repair.model.digest
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model-{digest}",
        "name": printable(report.log.name),
        "hashes": [_sha256(digest)],
        "description": f"Stage audit: {report_sentence(report)}",
        "modelCard": {
            "modelParameters": {
                "datasets": [{"ref": f"data-{data.digest}"} for data in report.evaluation_data]
            },
            "quantitativeAnalysis": {"performanceMetrics": _metrics(report)},
            "considerations": {
                "technicalLimitations": [printable(limit.text) for limit in report.limitations]
            },
        },
        "properties": [
            _property("verdict", report_sentence(report)),
            _property("report", facts.report_id or "none"),
            _property("signature", signature_sentence(facts, of="bill")),
            _property("assurance", assurance_words(report, facts)),
            _property("estimator", report.estimator.id),
            _property("log", report.log.digest),
            _property("model-bound-to-log", "yes" if report.model.bound else "no"),
            *([] if report.repair is None else [_property("repair", report.repair.statement)]),
        ],
    }


def _metrics(report: Report) -> list[Plain]:
    """Return the queries at the model, then what stages did to them, largest first.

    A repaired model has its own values; effects were measured on the model it was made from.
    """
    if report.repair is not None:
        return [
            {
                "type": printable(row.query),
                "value": repr(row.after),
                "slice": f"{row.n} examples; {row.unit}, {better_words(row.better)}; repaired",
            }
            for row in report.repair.queries
        ]
    values: list[Plain] = [
        {
            "type": printable(query.query),
            "value": repr(query.value),
            "slice": f"{query.n} examples; {query.unit}, {better_words(query.better)}",
        }
        for query in report.queries
    ]
    established = [e for e in report.effects if direction_of(e) is not Direction.OPEN]
    largest = sorted(established, key=lambda e: -abs(e.known_value))[:MAX_METRICS]
    return [*values, *(_effect(effect) for effect in largest)]


def _effect(effect: Effect) -> Plain:
    found: Plain = {
        "type": f"effect on {printable(effect.query)}",
        "value": repr(effect.known_value),
        "slice": f"{printable(effect.intervention)}; {effect.unit}, {verdict_words(effect)}",
    }
    if effect.low is not None and effect.high is not None:
        found["confidenceInterval"] = {
            "lowerBound": repr(effect.low),
            "upperBound": repr(effect.high),
        }
    return found


def _log(report: Report) -> Plain:
    return {
        "type": "data",
        "bom-ref": f"log-{report.log.digest}",
        "name": f"stage log of {printable(report.log.name)}",
        "hashes": [_sha256(report.log.digest)],
        "data": [{"type": "other", "name": "stage log", "description": _stages(report)}],
    }


def _stages(report: Report) -> str:
    return printable(f"stages {', '.join(report.log.stages)}; {report.log.consistency_statement}")


def _data(report: Report) -> list[Plain]:
    return [
        {
            "type": "data",
            "bom-ref": f"data-{data.digest}",
            "name": printable(data.name),
            "hashes": [_sha256(data.digest)],
            "data": [
                {
                    "type": "dataset",
                    "name": printable(data.name),
                    "description": f"{data.examples} examples for evaluation",
                }
            ],
        }
        for data in report.evaluation_data
    ]


def _sha256(digest: str) -> Plain:
    return {"alg": "SHA-256", "content": digest}


def _property(name: str, value: str) -> Plain:
    return {"name": f"stageaudit:{name}", "value": printable(value)}
