"""The dashboard asks for metrics and labels that exist, and its panels do not cover each other."""

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from service.metrics import Metrics
from tests.support.house import ROOT

DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "overview.json").read_text())
PANELS: list[dict[str, Any]] = [p for p in DASHBOARD["panels"] if p["type"] != "row"]
EVERYWHERE = {"instance"}


def labels_of_metrics() -> Mapping[str, set[str]]:
    """Return the labels of every series name that the service can expose."""
    metrics = Metrics()
    found: dict[str, set[str]] = {}
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
    collectors = {c for c in vars(metrics).values() if hasattr(c, "_labelnames")}
    for collector in collectors:
        for family in collector.describe():
            names = {*collector._labelnames} | ({"le"} if family.type == "histogram" else set())
            for suffix in suffixes.get(family.type, [""]):
                found[family.name + suffix] = names
    return found


def expressions() -> list[str]:
    queried = [target["expr"] for panel in PANELS for target in panel["targets"]]
    return [*queried, DASHBOARD["templating"]["list"][1]["query"]]


def metrics_in(expression: str) -> set[str]:
    bare = re.sub(r"\{.*?\}", " ", expression)
    return set(re.findall(r"\b(?:stageaudit|grpc_server)_[a-z_]+\b", bare))


def labels_in(expression: str) -> set[str]:
    grouped = re.findall(r"by \((.*?)\)", expression)
    matched = re.findall(r"(\w+)=~?\"", expression)
    return {label.strip() for group in grouped for label in group.split(",")} | {*matched}


@pytest.mark.parametrize("expression", expressions())
def test_panel_asks_for_what_the_service_exposes(expression: str) -> None:
    known = labels_of_metrics()
    asked = metrics_in(expression)

    assert asked
    assert asked - set(known) == set()
    shared = set.intersection(*(known[name] for name in asked))
    assert labels_in(expression) - shared - EVERYWHERE == set()


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_legend_names_labels_that_the_query_keeps(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))

        assert named == labels_in(target["expr"]) & named


def test_panels_have_one_source_that_the_reader_chooses() -> None:
    sources = {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]}

    assert sources == {"${datasource}"}
    assert [v["name"] for v in DASHBOARD["templating"]["list"]] == ["datasource", "instance"]


def test_panels_do_not_cover_each_other() -> None:
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
