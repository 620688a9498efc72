"""The image and the compose file keep the promises that the runbook makes for them."""

import re

import yaml

from service.config import ServiceConfig
from tests.support.house import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def compose() -> dict[str, dict]:
    return yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]


def test_image_runs_as_nobody_in_particular() -> None:
    last_stage = DOCKERFILE.split("FROM ")[-1]

    assert "USER 10001:10001" in last_stage
    assert last_stage.index("USER ") < last_stage.index("ENTRYPOINT")


def test_image_installs_only_what_was_hashed() -> None:
    installs = re.findall(r"pip install(?:[^\\\n]|\\\n)*", DOCKERFILE)

    assert len(installs) == 1
    assert {"--no-index", "--require-hashes", "--no-deps"} <= set(installs[0].split())


def test_health_check_asks_whether_it_is_alive() -> None:
    port = ServiceConfig.model_fields["metrics_port"].default

    assert f"http://127.0.0.1:{port}/livez" in DOCKERFILE


def test_stop_signal_is_the_one_that_drains() -> None:
    assert "STOPSIGNAL SIGTERM" in DOCKERFILE


def test_build_context_holds_the_wheels_only() -> None:
    lines = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if not line.startswith("#")
    ]

    assert lines == ["*", "!deploy/wheels/"]


def test_prometheus_scrapes_from_inside_the_services_namespace() -> None:
    port = ServiceConfig.model_fields["metrics_port"].default
    scrapes = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())

    assert compose()["prometheus"]["network_mode"] == "service:stageaudit"
    assert scrapes["scrape_configs"][0]["static_configs"] == [{"targets": [f"127.0.0.1:{port}"]}]


def test_compose_publishes_to_the_hosts_loopback_only() -> None:
    published = [port for service in compose().values() for port in service.get("ports", [])]

    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_compose_closes_the_root_file_system() -> None:
    for service in compose().values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]


def test_compose_leaves_time_to_drain() -> None:
    config = ServiceConfig()
    seconds = int(compose()["stageaudit"]["stop_grace_period"].removesuffix("s"))

    assert seconds > config.drain_seconds + 2 * config.grace_seconds
