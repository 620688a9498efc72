"""Dropping half of real data: a random half does next to nothing, the mislabelled half a lot."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from auditor.audit.local import run_audit
from auditor.effects import Better, Query, QueryKind
from auditor.estimators.retrain import RetrainSettings
from auditor.plan.request import AuditRequest, Intervention, Selection
from auditor.record.evalset import write_evaluation_set
from auditor.record.recorder import Recorder
from auditor.stagelog.digest import canonical_bytes, digest_of
from tests.support.builders import MemorySink
from tests.support.memory_index import MemoryIndex

TRAIN, STEPS, BATCH = 1200, 80, 32


@pytest.fixture(scope="module")
def effects() -> dict[str, float]:
    """Train on digits of which half, all from one source, are mislabelled; audit two drops."""
    found = load_digits()
    draw = np.random.default_rng(0)
    order = draw.permutation(len(found.target))
    images = torch.from_numpy(found.data[order] / 16.0).float()
    truth = torch.from_numpy(found.target[order]).long()
    noisy = torch.from_numpy(draw.random(TRAIN) < 0.5)
    wrong = torch.from_numpy(draw.integers(0, 10, TRAIN))
    columns = {
        "image": images[:TRAIN],
        "label": torch.where(noisy, wrong, truth[:TRAIN]),
        "noisy": noisy,
        "half": torch.from_numpy(draw.integers(0, 2, TRAIN)),
    }
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.2, 0.2, generator=generator)
    sink = MemorySink.new()
    recorder = Recorder(sink, model, run_name="digits")
    data = recorder.dataset("digits", columns)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with recorder.stage(
        "vendor", optimizer=optimizer, loss="cross_entropy", inputs={"image": "image"},
        target="label",
    ) as stage:  # fmt: skip
        for rows in torch.randint(0, TRAIN, (STEPS, BATCH), generator=generator):
            stage.batch(data, rows)
            optimizer.zero_grad()
            nn.functional.cross_entropy(
                model(columns["image"][rows]), columns["label"][rows]
            ).backward()
            optimizer.step()
    held_out = write_evaluation_set(
        "held-out", {"image": images[TRAIN:], "label": truth[TRAIN:]}, sink.blobs
    )
    sink.blobs.write(canonical_bytes(recorder.log))
    selections = {"random": {"half": (1,)}, "noisy": {"noisy": (True,)}}
    request = AuditRequest(
        log=digest_of(recorder.log),
        interventions=tuple(
            Intervention(kind="drop", stage="vendor", where=Selection(columns=columns))
            for columns in selections.values()
        ),
        queries=(Query(name="q", kind=QueryKind.LOSS, better=Better.LOWER, data=held_out),),
        estimator=RetrainSettings(),
        consistency="skip",
    )
    report = run_audit(request, blobs=sink.blobs, index=MemoryIndex(), device="cpu")
    return {name: e.value for name, e in zip(selections, report.effects, strict=True)}


def test_dropping_a_random_half_is_near_zero_beside_the_mislabelled_half(effects):
    assert effects["noisy"] > 0.3  # wrong labels raised the loss
    assert abs(effects["random"]) < 0.2 * effects["noisy"]
