"""Metrics that are shown."""

from service.demo.telemetry import parse, shown_lines

EXPOSITION = """\
# HELP stageaudit_audits_finished_total Audits that ended.
# TYPE stageaudit_audits_finished_total counter
stageaudit_audits_finished_total{tenant="default",outcome="succeeded"} 2.0
stageaudit_worker_restarts_total{device="cpu:0",reason="signal"} 0.0
stageaudit_group_lanes_bucket{kind="advance",le="16.0"} 3.0
stageaudit_group_lanes_sum{kind="advance"} 48.0
stageaudit_group_lanes_count{kind="advance"} 6.0
"""


def test_parse_reads_labels_and_values() -> None:
    first = next(parse(EXPOSITION))

    assert first == (
        "stageaudit_audits_finished_total",
        {"tenant": "default", "outcome": "succeeded"},
        2.0,
    )


def test_shown_lines_are_what_moved_and_means() -> None:
    assert shown_lines(EXPOSITION) == [
        "stageaudit_audits_finished_total{outcome=succeeded} 2",
        "stageaudit_group_lanes{kind=advance} mean 8 in 6 groups",
    ]
