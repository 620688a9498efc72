"""Alerts watch metrics that exist, are explained, are tested, and say what promtool accepts."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from service.metrics import Metrics
from tests.support.house import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
OF_PROMETHEUS = {"up"}


def read_alerts() -> dict[str, dict[str, object]]:
    document = yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text())
    return {rule["alert"]: rule for group in document["groups"] for rule in group["rules"]}


def metric_names() -> set[str]:
    names = set()
    for family in Metrics().registry.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        names |= {family.name + suffix for suffix in suffixes.get(family.type, [""])}
    return names


def run_promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("name", "rule"), read_alerts().items(), ids=read_alerts())
def test_alert_watches_metrics_that_exist(name: str, rule: dict[str, object]) -> None:
    expression = re.sub(r"\{.*?\}|\[.*?\]|by \(.*?\)", " ", str(rule["expr"]))
    words = set(re.findall(r"\b(?:up|[a-z]+_[a-z_]+)\b", expression))

    assert words
    assert words - metric_names() - OF_PROMETHEUS == set(), name


@pytest.mark.parametrize(("name", "rule"), read_alerts().items(), ids=read_alerts())
def test_alert_has_a_paragraph_in_the_runbook(name: str, rule: dict[str, object]) -> None:
    page = (ROOT / "docs" / "runbook.md").read_text()

    assert f"### {name}\n" in page
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"


def test_every_alert_is_seen_silent_and_firing() -> None:
    document = yaml.safe_load((PROMETHEUS / "alerts_test.yaml").read_text())

    seen = {
        (check["alertname"], bool(check["exp_alerts"]))
        for test in document["tests"]
        for check in test["alert_rule_test"]
    }

    assert seen == {(name, fires) for name in read_alerts() for fires in (False, True)}


@pytest.mark.tool("promtool")
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "alerts.yaml"),
        ("test", "rules", "alerts_test.yaml"),
        ("check", "config", "prometheus.yml"),
    ],
    ids=" ".join,
)
def test_promtool_accepts(arguments: tuple[str, ...]) -> None:
    result = run_promtool(*arguments)

    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.tool("promtool")
def test_promtool_refuses_an_alert_that_never_fires(tmp_path: Path) -> None:
    rules = (PROMETHEUS / "alerts.yaml").read_text()
    (tmp_path / "alerts.yaml").write_text(rules.replace("stageaudit_ready == 0", "absent(up)"))
    (tmp_path / "alerts_test.yaml").write_text((PROMETHEUS / "alerts_test.yaml").read_text())

    result = run_promtool("test", "rules", str(tmp_path / "alerts_test.yaml"))

    assert result.returncode != 0
    assert "StageAuditorNotReady" in result.stdout + result.stderr


@pytest.mark.tool("promtool")
def test_promtool_accepts_every_metric() -> None:
    result = subprocess.run(
        ["promtool", "check", "metrics"],
        input=Metrics().exposition(),
        capture_output=True,
        check=False,
    )

    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
