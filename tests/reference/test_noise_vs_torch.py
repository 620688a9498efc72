"""sd_order and sd_rerun against training again in plain torch, in the same other orders."""

import numpy as np
import pytest
import torch
from torch import nn

from auditor.audit.local import run_audit
from auditor.dynamics.orders import ordered_examples
from auditor.dynamics.run import Run
from auditor.effects import Better, Query, QueryKind
from auditor.estimators.retrain import RetrainSettings
from auditor.plan.request import AuditRequest, Intervention
from auditor.plan.settings import NOISE_ORDERS
from auditor.report.schema import Report
from auditor.stagelog.digest import canonical_bytes
from tests.support.builders import (
    RecordedRun,
    make_columns,
    make_network,
    make_optimizer,
    make_stage_log,
)
from tests.support.memory_index import MemoryIndex

STEPS, STAGES, SEED = 6, 3, 4


@pytest.fixture(scope="module")
def recorded() -> RecordedRun:
    found = make_stage_log(stages=STAGES, steps=STEPS, optimizer="momentum", lr=0.3)
    found.blobs.write(canonical_bytes(found.log))
    return found


@pytest.fixture(scope="module")
def report(recorded) -> Report:
    query = Query(name="loss", kind=QueryKind.LOSS, better=Better.LOWER, data=recorded.evaluation)
    request = AuditRequest(
        log=recorded.digest,
        interventions=(Intervention(kind="skip", stage="stage0"),),
        queries=(query,),
        estimator=RetrainSettings(),
        noise=("order", "rerun"),
        seed=SEED,
    )
    return run_audit(request, blobs=recorded.blobs, index=MemoryIndex(), device="cpu")


def final_loss(recorded: RecordedRun, *, orders: tuple[int, ...], skipped: int | None) -> float:
    """Train in eager torch, every stage in its order, and return the held-out loss."""
    run = Run(recorded.log, recorded.digest, recorded.blobs)
    network = make_network()
    for stage, order in enumerate(orders):
        if stage == skipped:
            continue
        columns = make_columns(seed=100 + stage)
        optimizer = make_optimizer("momentum", network, lr=0.3)
        index = ordered_examples(run, stage, seed=SEED, order=order).index.reshape(STEPS, -1)
        for step, rows in enumerate(torch.from_numpy(index)):
            optimizer.param_groups[0]["lr"] = 0.3 / (1 + step / STEPS)
            optimizer.zero_grad()
            outputs = network(columns["x"][rows])
            nn.functional.cross_entropy(outputs, columns["label"][rows]).backward()
            optimizer.step()
    held_out = make_columns(examples=24, seed=999)
    with torch.no_grad():
        return nn.functional.cross_entropy(network(held_out["x"]), held_out["label"]).item()


def effects_in_torch(recorded: RecordedRun, orders: list[tuple[int, ...]]) -> list[float]:
    return [
        final_loss(recorded, orders=own, skipped=None) - final_loss(recorded, orders=own, skipped=0)
        for own in orders
    ]


def test_sd_order_is_the_spread_of_exact_effects_over_later_orders(recorded, report):
    truth = effects_in_torch(recorded, [(0, o, o) for o in range(1, NOISE_ORDERS + 1)])

    assert report.effects[0].sd_order == pytest.approx(np.std(truth, ddof=1), rel=1e-8)


def test_sd_rerun_is_the_spread_of_exact_effects_over_reruns(recorded, report):
    truth = effects_in_torch(recorded, [(o, o, o) for o in range(1, NOISE_ORDERS + 1)])

    assert report.effects[0].sd_rerun == pytest.approx(np.std(truth, ddof=1), rel=1e-8)


def test_the_effect_itself_is_that_of_the_recorded_order(recorded, report):
    (truth,) = effects_in_torch(recorded, [(0, 0, 0)])

    assert report.effects[0].value == pytest.approx(truth, rel=1e-8)


def test_the_report_says_what_noise_covers_and_costs(report):
    limitations = {item.id for item in report.limitations}

    assert "RERUNS_FROM_RECORDED_START" in limitations
    assert "THIS_RUN_ONLY" not in limitations
    # Per order: factual and counterfactual over the two later stages, and the rerun over three;
    # what is left of a rerun without the first stage is the same counterfactual.
    assert report.cost.noise_relative == pytest.approx(NOISE_ORDERS * (2 + 2 + 3) / 2)
    assert not any("sd_" in absent.what for absent in report.not_computed)
