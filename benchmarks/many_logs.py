"""Trainings of one architecture, recorded as logs of their own, and what repeats them."""

import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from auditor.audit.execute import Worker
from auditor.audit.planning import plan_round
from auditor.edge.folder import FolderBlobs
from auditor.effects import Better, Query, QueryKind
from auditor.estimators.retrain import RetrainSettings
from auditor.plan.actions import ActionKey, ActionSpec, Advance, dependencies, key_of
from auditor.plan.groups import GroupKeys
from auditor.plan.request import AuditRequest, Change, Intervention
from auditor.record.evalset import write_evaluation_set
from auditor.record.export import export_graph
from auditor.record.recorder import Recorder
from auditor.stagelog.digest import Digest, canonical_bytes
from auditor.stagelog.log import StageLog
from benchmarks.workloads import Workload

HELD_OUT = 297
STAGE = "train"
SLOWER = 0.5
"""What every audit asks: the effect of training at this part of the learning rate."""


@final
class StoreSink:
    """Writes logs into one store of blobs."""

    def __init__(self, blobs: FolderBlobs) -> None:
        self.blobs = blobs
        self.digest: Digest | None = None

    def write_manifest(self, log: StageLog) -> Digest:
        """Store the manifest."""
        self.digest = self.blobs.write(canonical_bytes(log))
        return self.digest


@final
class ExportedOnce:
    """Exports the first model; the others have the same graph."""

    def __init__(self) -> None:
        self._graph: bytes | None = None

    def __call__(
        self, model: nn.Module, example_inputs: tuple[Tensor, ...], *, input_names: Sequence[str]
    ) -> bytes:
        """Return the graph."""
        if self._graph is None:
            self._graph = export_graph(model, example_inputs, input_names=input_names)
        return self._graph


def variants(workload: Workload, *, count: int) -> Iterator[Workload]:
    """Yield trainings with initial values, data and rates of their own."""
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        rows = torch.randperm(len(workload.labels), generator=generator)

        def build(number: int = number) -> nn.Module:
            model, noise = workload.build(), torch.Generator().manual_seed(number)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.mul_(1 + 0.1 * torch.randn(parameter.shape, generator=noise))
            return model

        def optimizer(parameters: Iterable[nn.Parameter], number: int = number) -> Optimizer:
            return at_rate(workload.make_optimizer(parameters), 1 + number / 100)

        yield replace(
            workload,
            build=build,
            make_optimizer=optimizer,
            inputs=workload.inputs[rows],
            labels=workload.labels[rows],
        )


def at_rate(optimizer: Optimizer, factor: float) -> Optimizer:
    """Return the optimizer at so many times its learning rate."""
    for group in optimizer.param_groups:
        group["lr"] *= factor
    return optimizer


def record_all(trainings: Sequence[Workload], blobs: FolderBlobs) -> list[Digest]:
    """Record every training into one store and return the logs."""
    export, logs = ExportedOnce(), []
    for training in trainings:
        sink, model = StoreSink(blobs), training.build()
        recorder = Recorder(sink, model, run_name=training.name, export=export)
        data = recorder.dataset("train", {"x": training.inputs, "y": training.labels})
        optimizer = training.make_optimizer(model.parameters())
        with recorder.stage(
            STAGE,
            optimizer=optimizer,
            loss="cross_entropy",
            inputs={"x": "x"},
            target="y",
            self_check="off",
        ) as stage:
            for rows in training.order():
                stage.batch(data, rows)
                optimizer.zero_grad()
                output: Tensor = model(training.inputs[rows])
                functional.cross_entropy(output, training.labels[rows]).backward()
                optimizer.step()
        assert sink.digest is not None
        logs.append(sink.digest)
    return logs


def requests_for(
    logs: Sequence[Digest], workload: Workload, blobs: FolderBlobs
) -> list[AuditRequest]:
    """Return an audit of each log: the effect of its learning rate on held-out loss, exactly."""
    columns = {"x": workload.inputs[:HELD_OUT], "y": workload.labels[:HELD_OUT]}
    data = write_evaluation_set("held-out", columns, blobs)
    query = Query(name="loss", kind=QueryKind.LOSS, better=Better.LOWER, data=data, target="y")
    slower = Intervention(kind="change", stage=STAGE, hyperparameters={"lr": Change(scale=SLOWER)})
    return [
        AuditRequest(
            log=log,
            interventions=(slower,),
            queries=(query,),
            estimator=RetrainSettings(),
            baselines=(),
            consistency="skip",
        )
        for log in logs
    ]


@dataclass(kw_only=True)
class Audited:
    """What auditing all logs took.

    Attributes:
        results: Of all actions.
        lanes: Of every group of trainings.
        executing_seconds: In which the worker executed a group.
        wall_seconds: Planning and forming groups included.
    """

    results: dict[ActionKey, Digest] = field(default_factory=dict)
    lanes: list[int] = field(default_factory=list)
    executing_seconds: float = 0.0
    wall_seconds: float = 0.0

    @property
    def figures(self) -> dict[str, Any]:
        """Lanes a group and how busy the device was."""
        return {
            "groups": len(self.lanes),
            "lanes_per_group": statistics.mean(self.lanes),
            "busy_share": round(self.executing_seconds / self.wall_seconds, 3),
        }


def audit_all(
    requests: Sequence[AuditRequest], blobs: FolderBlobs, *, device: str, max_lanes: int
) -> Audited:
    """Plan all audits, then execute their actions in groups, in a worker that knows nothing yet."""
    begin, audited = time.perf_counter(), Audited()
    logs = {
        request.log: StageLog.model_validate_json(bytes(blobs.read(Digest(request.log))))
        for request in requests
    }
    waiting: dict[ActionKey, ActionSpec] = {}
    for request in requests:
        blobs.write(canonical_bytes(request))
        planned = plan_round(request, logs[request.log], {}, blobs=blobs)
        waiting |= {key_of(spec): spec for spec in planned.actions}
    group_key = GroupKeys(logs.__getitem__)
    keys = {key: group_key(spec) for key, spec in waiting.items()}
    worker = Worker(blobs, device=device)
    while waiting:
        ready = [
            (key, spec)
            for key, spec in waiting.items()
            if all(needed in audited.results for needed in dependencies(spec))
        ]
        head = keys[ready[0][0]]
        group = [(key, spec) for key, spec in ready if keys[key] == head][:max_lanes]
        started = time.perf_counter()
        finished = worker.execute(
            [spec for _, spec in group],
            results=audited.results,
            on_block=lambda _done, _total: None,
        )
        audited.executing_seconds += time.perf_counter() - started
        if isinstance(group[0][1], Advance):
            audited.lanes.append(len(group))
        for (key, _), result in zip(group, finished, strict=True):
            audited.results[key] = result.digest
            del waiting[key]
    audited.wall_seconds = time.perf_counter() - begin
    return audited


def train_all(trainings: Sequence[Workload], *, device: str) -> list[nn.Module]:
    """Repeat the same trainings at the changed rate as a script would: eagerly, in turn."""
    return [train_slower(training, device=device) for training in trainings]


def train_slower(training: Workload, *, device: str) -> nn.Module:
    """Train at the changed rate, then take the held-out loss."""
    model = training.build().to(device)
    inputs, labels = training.inputs.to(device), training.labels.to(device)
    optimizer = at_rate(training.make_optimizer(model.parameters()), SLOWER)
    for rows in training.order().to(device):
        optimizer.zero_grad()
        functional.cross_entropy(model(inputs[rows]), labels[rows]).backward()
        optimizer.step()
    with torch.no_grad():
        functional.cross_entropy(model(inputs[:HELD_OUT]), labels[:HELD_OUT]).item()
    return model
