"""The reference pages list what the code has, no more and no less."""

import re
from pathlib import Path

from prometheus_client.metrics_core import Metric

from auditor.errors import AuditorError
from service.metrics import Metrics
from service.pb.v1 import (
    admin_service_pb2,
    audit_service_pb2,
    blob_service_pb2,
    model_service_pb2,
    policy_service_pb2,
    report_service_pb2,
    stage_log_service_pb2,
)
from service.status import CODES

PAGES = Path(__file__).parents[3] / "docs" / "reference"
SUFFIXES = {"counter": "_total", "info": "_info"}


def rows(page: str) -> list[list[str]]:
    """Return the cells of all table rows of a page, without their backticks."""
    lines = (PAGES / page).read_text().splitlines()
    return [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("| `")
    ]


def full_name(metric: Metric) -> str:
    return metric.name + SUFFIXES.get(metric.type, "")


def test_metrics_page_lists_every_metric_with_its_kind_and_meaning() -> None:
    metrics = {
        full_name(metric): [metric.type, metric.documentation]
        for metric in Metrics().registry.collect()
    }

    listed = {row[0]: [row[1], row[3]] for row in rows("metrics.md") if len(row) == 4}

    assert listed == metrics


def test_errors_page_lists_every_code_with_its_class_and_status() -> None:
    codes = {
        (kind.code, kind.__name__, status.name)
        for kind, status in CODES.items()
        if kind is not AuditorError
    }

    listed = {tuple(row[:3]) for row in rows("errors.md") if len(row) == 4}

    assert listed == codes


def test_wire_page_lists_every_method() -> None:
    modules = (
        admin_service_pb2,
        audit_service_pb2,
        blob_service_pb2,
        model_service_pb2,
        policy_service_pb2,
        report_service_pb2,
        stage_log_service_pb2,
    )
    methods = {
        service.name: {method.name for method in service.methods}
        for module in modules
        for service in module.DESCRIPTOR.services_by_name.values()
    }

    listed = {row[0]: set(re.findall(r"`(\w+)", (f"`{row[1]}"))) for row in rows("wire.md")}

    assert {name: listed[name] for name in methods} == methods
