"""Changed, joint and windowed interventions against training again in plain eager torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from auditor.audit.local import run_audit
from auditor.effects import Better, Query, QueryKind
from auditor.estimators.retrain import RetrainSettings
from auditor.estimators.subsampled_replay import SubsampledReplaySettings
from auditor.plan.request import (
    AnyIntervention,
    AuditRequest,
    Change,
    Intervention,
    Joint,
    Reference,
    Selection,
    StepWindow,
)
from auditor.report.schema import Report
from auditor.stagelog.batches import read_batches
from auditor.stagelog.digest import Digest, canonical_bytes
from tests.support.builders import (
    OptimizerName,
    RecordedRun,
    make_columns,
    make_network,
    make_optimizer,
    make_stage_log,
)
from tests.support.memory_index import MemoryIndex

STEPS = 6
STAGES = 3
OPTIMIZERS: tuple[OptimizerName, ...] = ("sgd", "momentum", "nesterov", "adam", "adamw")
BETAS = {"beta1": 0, "beta2": 1}
VENDOR = Selection(columns={"source": ("vendor",)})
OFF = Change(value=0.0)
SGD_CHANGES = {"lr": Change(scale=0.5), "weight_decay": Change(value=0.2)}
ADAM_CHANGES = {
    "lr": Change(scale=0.5),
    "weight_decay": Change(scale=3.0),
    "beta1": Change(value=0.8),
    "beta2": Change(scale=0.9),
    "eps": Change(value=1e-3),
}
CHANGES: dict[str, dict[str, Change]] = {
    "sgd": {**SGD_CHANGES, "momentum": Change(value=0.8)},
    "momentum": {**SGD_CHANGES, "momentum": Change(scale=0.5), "dampening": Change(value=0.3)},
    "nesterov": {**SGD_CHANGES, "momentum": Change(value=0.6)},
    "adam": ADAM_CHANGES,
    "adamw": ADAM_CHANGES,
}

Loss = Callable[[nn.Module, int, Tensor], Tensor]


def columns_of(stage: int) -> tuple[Tensor, Tensor]:
    columns = make_columns(seed=100 + stage)
    return columns["x"], columns["label"]


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


@dataclass(frozen=True, kw_only=True)
class Otherwise:
    """What plain torch does differently in a stage, in the steps [first, end) counted there."""

    first: int = 0
    end: int = STEPS
    loss: Loss | None = as_recorded  # None: no step is taken
    changes: Mapping[str, Change] = field(default_factory=dict)

    def __contains__(self, step: int) -> bool:
        return self.first <= step < self.end


def recorded_indices(recorded: RecordedRun, stage: int) -> list[Tensor]:
    entry = recorded.log.stages[stage]
    batches = read_batches(recorded.blobs.read(Digest(entry.batches)), where="batches")
    steps = range(entry.first_step, entry.end_step)
    return [torch.from_numpy(batches.rows(step)[0].indices.copy()) for step in steps]


def set_numbers(optimizer: torch.optim.Optimizer, changes: Mapping[str, Change]) -> None:
    group = optimizer.param_groups[0]
    for name, change in changes.items():
        if name in BETAS:
            betas = list(group["betas"])
            betas[BETAS[name]] = _changed(betas[BETAS[name]], change)
            group["betas"] = tuple(betas)
        else:
            group[name] = _changed(group[name], change)


def _changed(number: float, change: Change) -> float:
    return change.value if change.value is not None else number * change.scale


def train(
    recorded: RecordedRun,
    optimizer: OptimizerName,
    otherwise: Mapping[int, Otherwise],
    *,
    transition: str,
) -> nn.Module:
    """Train as the builder did, in eager torch, with some stages otherwise."""
    network = make_network()
    current = make_optimizer(optimizer, network)
    for stage in range(STAGES):
        if transition == "reset":
            current = make_optimizer(optimizer, network)
        group = current.param_groups[0]
        numbers = {name: value for name, value in group.items() if name != "params"}
        for step, indices in enumerate(recorded_indices(recorded, stage)):
            other = otherwise.get(stage)
            own = other if other is not None and step in other else Otherwise()
            group.update(numbers)
            group["lr"] = numbers["lr"] / (1 + step / STEPS)
            set_numbers(current, own.changes)
            if own.loss is not None:
                current.zero_grad()
                own.loss(network, stage, indices).backward()
                current.step()
        group.update(numbers)
    return network


def held_out_loss(network: nn.Module) -> float:
    columns = make_columns(examples=24, seed=999)
    with torch.no_grad():
        return nn.functional.cross_entropy(network(columns["x"]), columns["label"]).item()


def audit(
    recorded: RecordedRun, interventions: Sequence[AnyIntervention], *, estimator=None, joint=None
) -> Report:
    recorded.blobs.write(canonical_bytes(recorded.log))
    query = Query(name="loss", kind=QueryKind.LOSS, better=Better.LOWER, data=recorded.evaluation)
    request = AuditRequest(
        log=recorded.digest,
        interventions=tuple(interventions),
        queries=(query,),
        estimator=estimator or RetrainSettings(),
        joint=joint,
    )
    return run_audit(request, blobs=recorded.blobs, index=MemoryIndex(), device="cpu")


def steps_of(recorded: RecordedRun, stage: int, *, first: int, end: int) -> StepWindow:
    start = recorded.log.stages[stage].first_step
    return StepWindow(first_step=start + first, end_step=start + end)


def change(stage: int, changes: Mapping[str, Change], **fields) -> Intervention:
    return Intervention(
        kind="change", stage=f"stage{stage}", hyperparameters=dict(changes), **fields
    )


def assert_equals_torch(
    recorded: RecordedRun,
    optimizer: OptimizerName,
    cases: Sequence[tuple[AnyIntervention, Mapping[int, Otherwise]]],
    *,
    transition: str = "reset",
) -> None:
    """Audit all interventions at once, as lanes of one group, and compare with torch."""
    factual = held_out_loss(train(recorded, optimizer, {}, transition=transition))
    truth = [
        factual - held_out_loss(train(recorded, optimizer, otherwise, transition=transition))
        for _, otherwise in cases
    ]

    report = audit(recorded, [intervention for intervention, _ in cases])

    assert [effect.value for effect in report.effects] == pytest.approx(truth, rel=1e-8)
    assert min(map(abs, truth)) > 1e-6
    assert all(effect.exact_by_construction for effect in report.effects)


@pytest.mark.parametrize("transition", ["reset", "keep"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_changed_hyperparameters_equal_torch(optimizer, transition):
    recorded = make_stage_log(
        stages=STAGES, steps=STEPS, optimizer=optimizer, transition=transition
    )
    changes = CHANGES[optimizer]
    cases = [
        (change(1, {name: one}), {1: Otherwise(changes={name: one})})
        for name, one in changes.items()
    ]
    cases += [(change(stage, changes), {stage: Otherwise(changes=changes)}) for stage in range(2)]

    assert_equals_torch(recorded, optimizer, cases, transition=transition)


@pytest.mark.parametrize("transition", ["reset", "keep"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_windows_of_every_kind_equal_torch(optimizer, transition):
    recorded = make_stage_log(
        stages=STAGES, steps=STEPS, optimizer=optimizer, transition=transition
    )
    window = {"first": 2, "end": 5}
    steps = steps_of(recorded, 1, **window)
    changes = {**CHANGES[optimizer], "weight_decay": OFF}
    reference = Reference(dataset="data0", order="recorded")
    cases = [
        (Intervention(kind="skip", stage="stage1", steps=steps), Otherwise(**window, loss=None)),
        (
            Intervention(kind="drop", stage="stage1", where=VENDOR, divisor="kept", steps=steps),
            Otherwise(**window, loss=without_vendor),
        ),
        (
            Intervention(kind="replace", stage="stage1", reference=reference, steps=steps),
            Otherwise(**window, loss=on_stage_0_data),
        ),
        (change(1, changes, steps=steps), Otherwise(**window, changes=changes)),
    ]

    assert_equals_torch(
        recorded, optimizer, [(one, {1: other}) for one, other in cases], transition=transition
    )


def test_momentum_switched_off_in_a_window_leaves_the_buffer_alone_as_torch_does():
    recorded = make_stage_log(stages=STAGES, steps=STEPS, optimizer="momentum", transition="keep")
    off = {"momentum": OFF}
    steps = steps_of(recorded, 1, first=1, end=4)

    assert_equals_torch(
        recorded,
        "momentum",
        [(change(1, off, steps=steps), {1: Otherwise(first=1, end=4, changes=off)})],
        transition="keep",
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_joint_interventions_equal_torch(optimizer):
    recorded = make_stage_log(stages=STAGES, steps=STEPS, optimizer=optimizer)
    skip = [Intervention(kind="skip", stage=f"stage{stage}") for stage in range(STAGES)]
    drop = [
        Intervention(kind="drop", stage=f"stage{stage}", where=VENDOR, divisor="kept")
        for stage in range(STAGES)
    ]
    changes = CHANGES[optimizer]
    replace = Intervention(
        kind="replace", stage="stage1", reference=Reference(dataset="data0", order="recorded")
    )
    none, fewer = Otherwise(loss=None), Otherwise(loss=without_vendor)

    assert_equals_torch(
        recorded,
        optimizer,
        [
            (Joint(parts=(skip[0], skip[2])), {0: none, 2: none}),
            (Joint(parts=(skip[2], skip[1])), {1: none, 2: none}),
            (Joint(parts=tuple(drop)), {0: fewer, 1: fewer, 2: fewer}),
            (
                Joint(parts=(drop[0], replace, change(2, changes))),
                {0: fewer, 1: Otherwise(loss=on_stage_0_data), 2: Otherwise(changes=changes)},
            ),
        ],
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_change_that_changes_nothing_has_no_effect(optimizer):
    recorded = make_stage_log(stages=STAGES, steps=STEPS, optimizer=optimizer)
    same = {name: Change(scale=1.0) for name in CHANGES[optimizer]}

    report = audit(recorded, [change(0, same), change(0, {"lr": Change(scale=1.1)})])

    assert report.effects[0].value == pytest.approx(0, abs=1e-13)
    assert abs(report.effects[1].value) > 1e-6


def test_replays_of_changes_on_all_examples_equal_retraining():
    recorded = make_stage_log(stages=STAGES, steps=STEPS, optimizer="adamw")
    asked = [
        change(1, CHANGES["adamw"]),
        Joint(parts=(change(1, CHANGES["adamw"]), Intervention(kind="skip", stage="stage2"))),
    ]

    exact = audit(recorded, asked)
    replay = audit(recorded, asked, estimator=SubsampledReplaySettings(fraction=1.0, replicas=2))

    found = [effect.value for effect in replay.effects]
    assert found == pytest.approx([effect.value for effect in exact.effects], rel=1e-10)
