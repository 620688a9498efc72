"""The demo's audit request, written as a user would write it: YAML with paths."""

from pathlib import Path
from typing import Final

from service.demo.data import CUE_CLASS
from service.demo.training import STEPS
from service.demo.truth import CUE, LOSS

_HEAD: Final = f"""\
# Which stage is responsible for the held-out loss, and for the corner cue?
log: log
model: model.safetensors
purpose: stageaudit demo
estimator: {{id: subsampled_replay, fraction: 0.5, replicas: 8}}
queries:
  - name: {LOSS}
    kind: loss
    better: lower
    data: heldout
  - name: {CUE}
    better: lower
    of: {{kind: margin, class: {CUE_CLASS}}}  # log-odds of a {CUE_CLASS}
    treated: with-patch
    control: without-patch
interventions:
"""


def request_text() -> str:
    """Return the request: every stage skipped, and every stage's data replaced by clean data."""
    skips = [f"  - {{kind: skip, stage: {stage}}}\n" for stage in STEPS]
    replaces = [
        f"  - {{kind: replace, stage: {stage}, reference: {{data: reference}}}}\n"
        for stage in STEPS
    ]
    return _HEAD + "".join(skips + replaces)


def write_request(path: Path) -> None:
    """Write the request to a file."""
    path.write_text(request_text())
