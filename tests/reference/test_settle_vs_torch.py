"""Whole audits by ``settle`` against the same computation in eager torch, and its identities."""

from copy import deepcopy
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from auditor.estimators.retrain import RetrainSettings
from auditor.estimators.settle import SettleSettings
from auditor.plan.request import Intervention, StepWindow
from tests.reference.test_audit_vs_torch import as_recorded, audit, held_out_loss, recorded_indices
from tests.support.builders import (
    OptimizerName,
    RecordedRun,
    make_network,
    make_optimizer,
    make_stage_log,
)

STAGES, STEPS, TAIL = 3, 6, 0.5
Named = dict[str, Tensor]


@dataclass
class End:
    """A network and its optimizer at the end of a stage."""

    network: nn.Module
    optimizer: torch.optim.Optimizer


def run_steps(recorded: RecordedRun, end: End, *, stage: int, first: int) -> None:
    rate = end.optimizer.defaults["lr"]
    for step, indices in enumerate(recorded_indices(recorded, stage)):
        if step >= first:
            end.optimizer.param_groups[0]["lr"] = rate / (1 + step / STEPS)
            end.optimizer.zero_grad()
            as_recorded(end.network, stage, indices).backward()
            end.optimizer.step()


def factual_ends(recorded: RecordedRun, optimizer: OptimizerName) -> list[End]:
    network, ends = make_network(), []
    for stage in range(STAGES):
        end = End(network, make_optimizer(optimizer, network))
        run_steps(recorded, end, stage=stage, first=0)
        ends.append(deepcopy(end))
    return ends


def values(network: nn.Module) -> Named:
    return {name: tensor.detach().clone() for name, tensor in network.named_parameters()}


def settled(recorded: RecordedRun, end: End, *, stage: int, moved: Named) -> nn.Module:
    """Return the network after the last half of a stage from its end plus a displacement."""
    own = deepcopy(end)
    with torch.no_grad():
        for name, tensor in own.network.named_parameters():
            tensor.add_(moved[name])
    run_steps(recorded, own, stage=stage, first=STEPS // 2)
    return own.network


def effect_of_skipping(recorded: RecordedRun, ends: list[End], *, skipped: int) -> float:
    before = values(make_network() if skipped == 0 else ends[skipped - 1].network)
    after = values(ends[skipped].network)
    moved = {name: before[name] - after[name] for name in before}
    nothing = {name: torch.zeros_like(value) for name, value in before.items()}
    displaced = twin = ends[skipped].network
    for stage in range(skipped + 1, STAGES):
        displaced = settled(recorded, ends[stage], stage=stage, moved=moved)
        twin = settled(recorded, ends[stage], stage=stage, moved=nothing)
        left, right = values(displaced), values(twin)
        moved = {name: left[name] - right[name] for name in left}
    return held_out_loss(twin) - held_out_loss(displaced)


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adamw"])
def test_settle_equals_settling_in_torch(optimizer: OptimizerName) -> None:
    recorded = make_stage_log(stages=STAGES, steps=STEPS, optimizer=optimizer)
    skips = [Intervention(kind="skip", stage=f"stage{stage}") for stage in range(STAGES)]

    report = audit(recorded, *skips, estimator=SettleSettings(tail=TAIL, fraction=1.0, replicas=1))

    ends = factual_ends(recorded, optimizer)
    truth = [effect_of_skipping(recorded, ends, skipped=stage) for stage in range(STAGES - 1)]
    found = [effect.value for effect in report.effects]
    assert found[:-1] == pytest.approx(truth, rel=1e-8)


def test_settle_is_exact_for_the_last_stage() -> None:
    recorded = make_stage_log(stages=STAGES, steps=STEPS, optimizer="adam")
    skip = Intervention(kind="skip", stage="stage2")

    (effect,) = audit(recorded, skip, estimator=SettleSettings()).effects

    (truth,) = audit(recorded, skip, estimator=RetrainSettings()).effects
    assert effect.value == truth.value
    assert effect.exact_by_construction


@pytest.mark.parametrize("stage", range(STAGES))
def test_settle_gives_nothing_for_removing_nothing(stage: int) -> None:
    recorded = make_stage_log(stages=STAGES, steps=STEPS, optimizer="momentum", transition="keep")
    nothing = Intervention(kind="fade", stage=f"stage{stage}", alpha=1.0)

    (effect,) = audit(recorded, nothing, estimator=SettleSettings(fraction=0.5)).effects

    assert effect.value == 0.0
    assert effect.self_check is None  # it would say nothing of the steps that are left out


def test_settle_answers_windows_and_gives_no_interval() -> None:
    recorded = make_stage_log(stages=STAGES, steps=STEPS, optimizer="momentum")
    window = Intervention(kind="skip", stage="stage1", steps=StepWindow(first_step=6, end_step=9))

    (effect,) = audit(recorded, window, estimator=SettleSettings(fraction=0.5)).effects

    assert effect.low is None
    assert effect.high is None
    assert effect.value != 0
