"""The few lines of ``/metrics`` that tell what the service did for the demo."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

_SAMPLE = re.compile(r"^(?P<name>[a-z_]+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)$")
_LABEL = re.compile(r'(\w+)="([^"]*)"')

Sample = tuple[str, Mapping[str, str], float]

SHOWN: Final[tuple[tuple[str, Mapping[str, str]], ...]] = (
    ("stageaudit_audits_finished_total", {}),
    ("stageaudit_actions_finished_total", {"kind": "advance"}),
    ("stageaudit_actions_finished_total", {"kind": "evaluate"}),
    ("stageaudit_action_cache_lookups_total", {"kind": "advance"}),
    ("stageaudit_device_busy_seconds_total", {}),
    ("stageaudit_blob_bytes_total", {}),
    ("stageaudit_worker_restarts_total", {}),
    ("stageaudit_lease_expirations_total", {}),
)
"""Counters by name and labels."""
MEANS: Final[tuple[tuple[str, Mapping[str, str]], ...]] = (
    ("stageaudit_group_lanes", {"kind": "advance"}),
    ("stageaudit_group_lanes", {"kind": "evaluate"}),
)
"""Histograms, of which the mean is shown."""


def parse(exposition: str) -> Iterator[Sample]:
    """Yield name, labels and value of every sample."""
    for line in exposition.splitlines():
        found = _SAMPLE.match(line)
        if found is not None:
            labels = dict(_LABEL.findall(found["labels"] or ""))
            yield found["name"], labels, float(found["value"])


def shown_lines(exposition: str) -> list[str]:
    """Return the lines worth reading: counters that moved, and means of histograms."""
    samples = list(parse(exposition))
    lines = [
        f"{name}{_labels(labels)} {value:g}"
        for wanted, having in SHOWN
        for name, labels, value in samples
        if name == wanted and having.items() <= labels.items() and value > 0
    ]
    for wanted, having in MEANS:
        for name, labels, count in samples:
            if name == f"{wanted}_count" and having.items() <= labels.items() and count > 0:
                total = next(v for n, of, v in samples if n == f"{wanted}_sum" and of == labels)
                lines.append(
                    f"{wanted}{_labels(labels)} mean {total / count:.3g} in {count:g} groups"
                )
    return lines


def _labels(labels: Mapping[str, str]) -> str:
    shown = ", ".join(f"{name}={value}" for name, value in labels.items() if name != "tenant")
    return f"{{{shown}}}" if shown else ""
