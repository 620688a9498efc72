"""The estimator that the guide adds is run as it stands there, and compared with plain torch."""

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from auditor.audit.execute import Worker
from auditor.audit.results import BlobValues
from auditor.effects import Better, Query, QueryKind
from auditor.estimators.base import Estimator, Floats, Question
from auditor.model.tensors import read_tensors
from auditor.plan.actions import ActionKey, key_of
from auditor.plan.request import Intervention
from auditor.stagelog.digest import Digest, canonical_bytes
from tests.support.builders import RecordedRun, make_columns, make_network, make_stage_log

PAGE = Path(__file__).parents[2] / "docs/howto/add-an-estimator.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STAGE = 1
WEIGHT = 0.3


@pytest.fixture(scope="module")
def recorded() -> RecordedRun:
    recorded = make_stage_log()
    recorded.blobs.write(canonical_bytes(recorded.log))
    return recorded


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the names that the blocks of the page define."""
    names: dict[str, Any] = {}
    for number, text in enumerate(BLOCK.findall(PAGE.read_text())):
        file = tmp_path_factory.mktemp("page") / f"block{number}.py"
        file.write_text(text)
        names |= runpy.run_path(str(file))
    return names


def question_on(recorded: RecordedRun) -> Question:
    return Question(
        log=recorded.log,
        log_digest=recorded.digest,
        intervention=Intervention(kind="skip", stage=f"stage{STAGE}"),
        query=Query(
            name="loss", kind=QueryKind.LOSS, better=Better.LOWER, data=recorded.evaluation
        ),
        seed=0,
    )


def answered(estimator: Estimator, question: Question, recorded: RecordedRun) -> Floats:
    worker = Worker(recorded.blobs, device="cpu")
    results: dict[ActionKey, Digest] = {}
    for spec in estimator.actions(question):
        done = worker.execute([spec], results=results, on_block=lambda _done, _total: None)
        results[key_of(spec)] = done[0].digest
    return estimator.sample(question, BlobValues(recorded.blobs, results)).effects


def parameters_at(recorded: RecordedRun, boundary: int) -> dict[str, Tensor]:
    digest = recorded.log.boundary(boundary).parameters
    return read_tensors(recorded.blobs.read(Digest(digest)), where="checkpoint")


def losses(parameters: dict[str, Tensor]) -> Tensor:
    """Return the loss of every held-out example, [N], by plain torch."""
    network = make_network()
    network.load_state_dict(parameters)
    columns = make_columns(examples=24, seed=999)
    x, label = columns["x"], columns["label"]
    assert isinstance(x, Tensor)
    assert isinstance(label, Tensor)
    with torch.no_grad():
        return torch.nn.functional.cross_entropy(network(x), label, reduction="none")


def test_estimator_of_the_guide_is_what_it_says(
    recorded: RecordedRun, shown: dict[str, Any]
) -> None:
    before, after, final = (parameters_at(recorded, at) for at in (STAGE, STAGE + 1, 3))
    without = {name: value - (after[name] - before[name]) for name, value in final.items()}
    expected = WEIGHT * (losses(final) - losses(without)) + (1 - WEIGHT) * (
        losses(after) - losses(before)
    )

    settings = shown["BaselineBlendSettings"](weight=WEIGHT)
    estimator = shown["BaselineBlend"](weight=settings.weight)
    effects = answered(estimator, question_on(recorded), recorded)

    assert effects.shape == (1, 24)
    np.testing.assert_allclose(effects[0], expected.numpy(), rtol=1e-10, atol=1e-12)
    assert abs(expected.mean()) > 1e-3


def test_places_that_the_guide_names_are_there() -> None:
    root = PAGE.parents[2]
    rows = re.findall(r"^\| `([\w/]+\.py)`, `(\w+)` \|", PAGE.read_text(), re.MULTILINE)

    assert len(rows) == 5
    for path, name in rows:
        assert re.search(rf"\b{name}\b", (root / path).read_text()), f"{path}: {name}"
