"""Whole audits against plain eager torch: the truth does not come from our own step maps."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from auditor.audit.local import run_audit
from auditor.effects import Better, Query, QueryKind, Verdict
from auditor.estimators.retrain import RetrainSettings
from auditor.estimators.subsampled_replay import SubsampledReplaySettings
from auditor.plan.request import AuditRequest, Intervention, Reference, Selection
from auditor.report.schema import Report
from auditor.stagelog.batches import read_batches
from auditor.stagelog.digest import Digest, canonical_bytes
from tests.support.builders import (
    RecordedRun,
    make_columns,
    make_network,
    make_optimizer,
    make_stage_log,
)
from tests.support.memory_index import MemoryIndex

STEPS = 6
STAGES = 3
Loss = Callable[[nn.Module, int, Tensor], Tensor]


def columns_of(stage: int) -> tuple[Tensor, Tensor]:
    columns = make_columns(seed=100 + stage)
    return columns["x"], columns["label"]


def recorded_indices(recorded: RecordedRun, stage: int) -> list[Tensor]:
    entry = recorded.log.stages[stage]
    batches = read_batches(recorded.blobs.read(Digest(entry.batches)), where="batches")
    steps = range(entry.first_step, entry.end_step)
    return [torch.from_numpy(batches.rows(step)[0].indices.copy()) for step in steps]


def as_recorded(network: nn.Module, stage: int, indices: Tensor) -> Tensor:
    x, label = columns_of(stage)
    return nn.functional.cross_entropy(network(x[indices]), label[indices])


def on_stage_0_data(network: nn.Module, stage: int, indices: Tensor) -> Tensor:
    del stage
    return as_recorded(network, 0, indices)


def without_vendor(network: nn.Module, stage: int, indices: Tensor) -> Tensor:
    x, label = columns_of(stage)
    losses = nn.functional.cross_entropy(network(x[indices]), label[indices], reduction="none")
    return losses[indices % 2 == 0].sum() / len(indices)  # odd rows are the vendor's


def train(
    recorded: RecordedRun,
    optimizer: str,
    *,
    skipped: int | None = None,
    changed: tuple[int, Loss] | None = None,
) -> nn.Module:
    """Train as the builder did, in eager torch, without a stage or with another loss in one."""
    network = make_network()
    for stage in range(STAGES):
        if stage == skipped:
            continue
        current = make_optimizer(optimizer, network)
        rate = current.param_groups[0]["lr"]
        for step, indices in enumerate(recorded_indices(recorded, stage)):
            current.param_groups[0]["lr"] = rate / (1 + step / STEPS)
            loss = changed[1] if changed is not None and changed[0] == stage else as_recorded
            current.zero_grad()
            loss(network, stage, indices).backward()
            current.step()
    return network


def held_out_loss(network: nn.Module) -> float:
    columns = make_columns(examples=24, seed=999)
    with torch.no_grad():
        return nn.functional.cross_entropy(network(columns["x"]), columns["label"]).item()


def audit(recorded: RecordedRun, *interventions: Intervention, estimator) -> Report:
    recorded.blobs.write(canonical_bytes(recorded.log))
    query = Query(name="loss", kind=QueryKind.LOSS, better=Better.LOWER, data=recorded.evaluation)
    request = AuditRequest(
        log=recorded.digest, interventions=interventions, queries=(query,), estimator=estimator
    )
    return run_audit(request, blobs=recorded.blobs, index=MemoryIndex(), device="cpu")


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adam", "adamw"])
def test_retrain_equals_training_again_in_torch(optimizer):
    recorded = make_stage_log(stages=STAGES, steps=STEPS, optimizer=optimizer)
    factual = held_out_loss(train(recorded, optimizer))
    replace = Intervention(
        kind="replace", stage="stage1", reference=Reference(dataset="data0", order="recorded")
    )
    vendor = Selection(columns={"source": ("vendor",)})
    drop = Intervention(kind="drop", stage="stage1", where=vendor, divisor="kept")
    skips = [Intervention(kind="skip", stage=f"stage{stage}") for stage in range(STAGES)]
    counterfactuals = [train(recorded, optimizer, skipped=stage) for stage in range(STAGES)]
    counterfactuals.append(train(recorded, optimizer, changed=(1, on_stage_0_data)))
    counterfactuals.append(train(recorded, optimizer, changed=(1, without_vendor)))

    report = audit(recorded, *skips, replace, drop, estimator=RetrainSettings())

    truth = [factual - held_out_loss(network) for network in counterfactuals]
    assert [effect.value for effect in report.effects] == pytest.approx(truth, rel=1e-8)
    assert all(effect.exact_by_construction for effect in report.effects)
    assert report.queries[0].value == pytest.approx(factual, rel=1e-10)


def test_report_says_what_it_rests_on():
    recorded = make_stage_log(stages=STAGES, steps=STEPS, optimizer="momentum")
    skip = Intervention(kind="skip", stage="stage0")

    report = audit(recorded, skip, estimator=SubsampledReplaySettings(replicas=4))

    effect = report.effects[0]
    assert {finding.verdict for finding in report.log.consistency} == {"consistent"}
    assert effect.low is not None
    assert effect.low < effect.value < effect.high
    assert effect.verdict in {Verdict.EFFECT, Verdict.WITHIN_REPLAY_SPREAD}
    assert set(effect.baselines) == {"checkpoint_delta", "task_vector"}
    assert effect.self_check is not None
    assert "would be" in effect.statement
    assert {"THIS_RUN_ONLY", "MODEL_NOT_BOUND"} <= {item.id for item in report.limitations}
    assert report.run is None


def test_last_stage_is_exact_for_every_replay_and_baseline():
    recorded = make_stage_log(stages=STAGES, steps=STEPS, optimizer="adamw")
    last = Intervention(kind="skip", stage=f"stage{STAGES - 1}")

    report = audit(recorded, last, estimator=SubsampledReplaySettings(replicas=2))

    effect = report.effects[0]
    assert effect.exact_by_construction
    assert effect.low == effect.high == effect.value
    assert effect.baselines["checkpoint_delta"] == pytest.approx(effect.value, rel=1e-12)
    assert effect.baselines["task_vector"] == pytest.approx(effect.value, rel=1e-12)


def test_a_second_audit_computes_evaluations_only():
    recorded = make_stage_log(stages=STAGES, steps=STEPS)
    recorded.blobs.write(canonical_bytes(recorded.log))
    index = MemoryIndex()
    seen: list[str] = []

    def ask(kind: QueryKind) -> None:
        query = Query(name="q", kind=kind, better=Better.LOWER, data=recorded.evaluation)
        request = AuditRequest(log=recorded.digest, interventions="stages", queries=(query,))
        run_audit(
            request,
            blobs=recorded.blobs,
            index=index,
            device="cpu",
            on_progress=lambda progress: seen.append(progress.kind),
        )

    ask(QueryKind.LOSS)
    assert "advance" in seen
    seen.clear()
    ask(QueryKind.MARGIN)

    assert set(seen) == {"evaluate", "report"}
