"""Small real logs: a tiny network trained in stages and recorded as a user would record it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from auditor.record.evalset import write_evaluation_set
from auditor.record.export import export_graph
from auditor.record.recorder import Recorder
from auditor.record.stage_settings import SelfCheck
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest, canonical_bytes, digest_of
from auditor.stagelog.log import StageLog
from tests.support.memory_blobs import MemoryBlobs

OptimizerName = Literal["sgd", "momentum", "nesterov", "adam", "adamw"]

FEATURES = 4
CLASSES = 3
SOURCES = ("own", "vendor")

_exported: dict[object, bytes] = {}


@dataclass
class FixedClock:
    """A clock that stands still, so that equal runs have equal logs."""

    instant: datetime = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return 0.0


@dataclass
class MemorySink:
    """A LogSink in memory; ``manifests`` holds every manifest that was written."""

    blobs: MemoryBlobs
    manifests: list[StageLog]

    @classmethod
    def new(cls) -> "MemorySink":
        return cls(blobs=MemoryBlobs(), manifests=[])

    def write_manifest(self, log: StageLog) -> Digest:
        self.manifests.append(log)
        return self.blobs.write(canonical_bytes(log))


@dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """A log, its blobs, an evaluation set in the same store, and the network at the end."""

    log: StageLog
    digest: Digest
    blobs: BlobStore
    evaluation: Digest
    model: nn.Module


def export_once(
    module: nn.Module, example_inputs: tuple[Tensor, ...], *, input_names: Sequence[str]
) -> bytes:
    """Export a graph once per architecture and test session: it takes a second or more."""
    key = (
        str(module),
        tuple((name, t.shape, t.dtype) for name, t in module.state_dict().items()),
        tuple((t.shape[1:], t.dtype) for t in example_inputs),
        tuple(input_names),
    )
    if key not in _exported:
        _exported[key] = export_graph(module, example_inputs, input_names=input_names)
    return _exported[key]


def make_network(
    *, dtype: torch.dtype = torch.float64, seed: int = 0, hidden: int = 5
) -> nn.Module:
    """Return a two-layer perceptron with a smooth activation: 4 features, 3 classes."""
    network = nn.Sequential(nn.Linear(FEATURES, hidden), nn.Tanh(), nn.Linear(hidden, CLASSES))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return network.to(dtype)


def make_columns(
    *, examples: int = 48, dtype: torch.dtype = torch.float64, seed: int = 1
) -> dict[str, Tensor | list[str]]:
    """Return columns ``x`` [N, 4], ``label`` [N] and the text column ``source``."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "x": torch.randn(examples, FEATURES, generator=generator, dtype=torch.float64).to(dtype),
        "label": torch.randint(CLASSES, (examples,), generator=generator),
        "source": [SOURCES[i % len(SOURCES)] for i in range(examples)],
    }


def make_optimizer(
    name: OptimizerName, network: nn.Module, *, lr: float | None = None, weight_decay: float = 1e-2
) -> torch.optim.Optimizer:
    """Return an optimizer of all parameters that require a gradient."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    match name:
        case "sgd":
            return torch.optim.SGD(parameters, lr=lr or 0.1, weight_decay=weight_decay)
        case "momentum":
            return torch.optim.SGD(
                parameters, lr=lr or 0.05, momentum=0.9, dampening=0.1, weight_decay=weight_decay
            )
        case "nesterov":
            return torch.optim.SGD(
                parameters, lr=lr or 0.05, momentum=0.9, nesterov=True, weight_decay=weight_decay
            )
        case "adam":
            return torch.optim.Adam(parameters, lr=lr or 1e-2, weight_decay=weight_decay)
        case "adamw":
            return torch.optim.AdamW(parameters, lr=lr or 1e-2, weight_decay=weight_decay)


def make_stage_log(
    *,
    stages: int = 3,
    steps: int = 6,
    optimizer: OptimizerName = "sgd",
    transition: Literal["reset", "keep"] = "reset",
    dtype: torch.dtype = torch.float64,
    examples: int = 48,
    batch: int = 8,
    lr: float | None = None,
    weight_decay: float = 1e-2,
    cadence_steps: int | None = None,
    self_check: SelfCheck = "off",
    seed: int = 0,
    unused_feature: int | None = None,
    folder: Path | None = None,
) -> RecordedRun:
    """Train a tiny network in stages and return its log.

    Each stage ``stage<i>`` has a dataset ``data<i>`` of its own with columns ``x``, ``label`` and
    ``source`` (``own`` and ``vendor`` in turn), a learning rate that falls from step to step, and
    batches drawn without replacement. ``evaluation`` has columns ``x``, ``label`` and ``id``.

    Args:
        stages: Number of stages.
        steps: Steps of each.
        optimizer: Which arithmetic.
        transition: Whether each stage makes a new optimizer or keeps the first one.
        dtype: Of parameters and inputs.
        examples: Size of each dataset.
        batch: Examples of a step.
        lr: Learning rate of the first step of a stage.
        weight_decay: Weight decay.
        cadence_steps: Keep further checkpoints.
        self_check: As in ``Recorder.stage``.
        seed: Of initial values, data and batches.
        unused_feature: This input is 0 in training, so that its weights never have a gradient.
        folder: Record into this folder; by default into memory.
    """
    sink = MemorySink.new()
    network = make_network(dtype=dtype, seed=seed)
    recorder = Recorder(
        folder or sink, network, run_name="tiny", export=export_once, clock=FixedClock()
    )
    generator = torch.Generator().manual_seed(seed + 1000)
    current = make_optimizer(optimizer, network, lr=lr, weight_decay=weight_decay)
    for index in range(stages):
        columns = make_columns(examples=examples, dtype=dtype, seed=seed + 100 + index)
        if unused_feature is not None and isinstance(columns["x"], Tensor):
            columns["x"][:, unused_feature] = 0.0
        data = recorder.dataset(f"data{index}", columns)
        if transition == "reset":
            current = make_optimizer(optimizer, network, lr=lr, weight_decay=weight_decay)
        first_rates = [group["lr"] for group in current.param_groups]
        with recorder.stage(
            f"stage{index}",
            optimizer=current,
            loss="cross_entropy",
            inputs={"x": "x"},
            target="label",
            cadence_steps=cadence_steps,
            self_check=self_check,
        ) as stage:
            for step in range(steps):
                for group, rate in zip(current.param_groups, first_rates, strict=True):
                    group["lr"] = rate / (1 + step / steps)
                indices = torch.randperm(examples, generator=generator)[:batch]
                stage.batch(data, indices)
                train_step(network, current, columns, indices)
        for group, rate in zip(current.param_groups, first_rates, strict=True):
            group["lr"] = rate
    blobs: BlobStore = sink.blobs
    if folder is not None:
        from auditor.edge.folder import read_log

        _, _, blobs = read_log(folder)
    held_out = make_columns(examples=24, dtype=dtype, seed=seed + 999)
    evaluation = write_evaluation_set("held-out", {**held_out, "id": torch.arange(24)}, blobs)
    return RecordedRun(
        log=recorder.log,
        digest=digest_of(recorder.log),
        blobs=blobs,
        evaluation=evaluation,
        model=network,
    )


def train_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    columns: dict[str, Tensor | list[str]],
    indices: Tensor,
) -> None:
    """Take one step on the mean cross entropy of some rows."""
    x, label = columns["x"], columns["label"]
    assert isinstance(x, Tensor)
    assert isinstance(label, Tensor)
    optimizer.zero_grad()
    nn.functional.cross_entropy(network(x[indices]), label[indices]).backward()
    optimizer.step()
