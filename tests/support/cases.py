"""Recorded runs in memory for every optimizer variant: a table of cases and their builder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from auditor.dynamics.computations import Computations, ModelOf
from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState, state_tensors
from auditor.dynamics.trajectory import Lane, advance
from auditor.model.layout import ParameterLayout
from auditor.model.tensors import write_tensors
from auditor.stagelog.batches import BatchRow, write_batches
from auditor.stagelog.dataset import Column, Dataset, Shard
from auditor.stagelog.digest import digest_of, sha256
from auditor.stagelog.log import (
    Bindings,
    Checkpoint,
    Graph,
    GraphValue,
    Loss,
    Optimizer,
    ParameterGroup,
    ParameterInfo,
    Stage,
    StageLog,
    Transition,
)
from auditor.stagelog.log import (
    Run as RunFacts,
)
from auditor.stagelog.schedule import Schedule, write_schedule
from tests.support.memory_blobs import MemoryBlobs
from tests.support.objectives import BUFFER, CLASSES, FEATURES, HIDDEN, MLP_SHAPES, MlpObjective

BODY, HEAD = ("body.weight", "body.bias"), ("head.weight", "head.bias")
ALL = BODY + HEAD
SOURCES = ("a", "b")
EMPTY = sha256(b"")


@dataclass(frozen=True, kw_only=True)
class GroupSpec:
    """A parameter group and its hyperparameters; the learning rate varies with the step."""

    parameters: tuple[str, ...] = ALL
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """One stage of a synthetic run."""

    kind: str = "sgd"
    nesterov: bool = False
    groups: tuple[GroupSpec, ...] = (GroupSpec(),)
    steps: int = 5
    batch: int = 4
    transition: Literal["reset", "keep"] = "reset"
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    dataset: str = "data"


SGD = {"lr": 0.2, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0}
ADAM = {"lr": 0.03, "beta1": 0.9, "beta2": 0.95, "eps": 1e-3, "weight_decay": 0.0}


def sgd(*parameters: str, **numbers: float) -> GroupSpec:
    return GroupSpec(parameters=parameters or ALL, numbers={**SGD, **numbers})


def adam(*parameters: str, **numbers: float) -> GroupSpec:
    return GroupSpec(parameters=parameters or ALL, numbers={**ADAM, **numbers})


def staged(spec: StageSpec, *, transition: Literal["reset", "keep"]) -> tuple[StageSpec, ...]:
    """Return three stages of one kind; the last step of each has a smaller batch."""
    later = replace(spec, transition=transition)
    return (spec, later, later)


def one_group(group: GroupSpec, *, kind: str = "sgd", nesterov: bool = False) -> StageSpec:
    return StageSpec(kind=kind, nesterov=nesterov, groups=(group,))


MOMENTUM = one_group(sgd(momentum=0.9))
ADAMW = one_group(adam(weight_decay=0.1), kind="adamw")
TWO_GROUPS = StageSpec(
    groups=(sgd(*HEAD, momentum=0.9, lr=0.1), sgd(*BODY, weight_decay=0.05, lr=0.3))
)
CASES: dict[str, tuple[StageSpec, ...]] = {
    "sgd": staged(one_group(sgd()), transition="reset"),
    "sgd decay": staged(one_group(sgd(weight_decay=0.1)), transition="reset"),
    "momentum reset": staged(MOMENTUM, transition="reset"),
    "momentum kept": staged(MOMENTUM, transition="keep"),
    "dampening kept": staged(one_group(sgd(momentum=0.8, dampening=0.4)), transition="keep"),
    "nesterov decay kept": staged(
        one_group(sgd(momentum=0.9, weight_decay=0.02), nesterov=True), transition="keep"
    ),
    "adam reset": staged(one_group(adam(), kind="adam"), transition="reset"),
    "adam decay kept": staged(one_group(adam(weight_decay=0.1), kind="adam"), transition="keep"),
    "adamw kept": staged(ADAMW, transition="keep"),
    "two groups kept": staged(TWO_GROUPS, transition="keep"),
    "two adam groups": staged(
        StageSpec(kind="adamw", groups=(adam(*BODY), adam(*HEAD, lr=0.1, weight_decay=0.3))),
        transition="keep",
    ),
    "frozen body": (
        MOMENTUM,
        StageSpec(groups=(sgd(*HEAD, momentum=0.9),), transition="keep"),
        replace(MOMENTUM, transition="keep"),
    ),
    "added head, momentum": (
        StageSpec(groups=(sgd(*BODY, momentum=0.9, dampening=0.2),)),
        replace(one_group(sgd(momentum=0.9, dampening=0.2)), transition="keep", added=HEAD),
        replace(one_group(sgd(momentum=0.9, dampening=0.2)), transition="keep"),
    ),
    "added head, adamw": (
        StageSpec(kind="adamw", groups=(adam(*BODY),)),
        replace(ADAMW, transition="keep", added=HEAD),
        replace(ADAMW, transition="keep"),
    ),
    "head started anew": (
        MOMENTUM,
        replace(MOMENTUM, transition="keep", added=HEAD, removed=HEAD),
        replace(MOMENTUM, transition="keep"),
    ),
    "head removed": (
        MOMENTUM,
        StageSpec(groups=(sgd(*BODY, momentum=0.9),), transition="keep", removed=HEAD),
        StageSpec(groups=(sgd(*BODY, momentum=0.9),), transition="keep"),
    ),
    "sgd then adam": (MOMENTUM, ADAMW, MOMENTUM),
}
"""Every optimizer variant, several groups, frozen groups, resets, carry-over, added parameters."""


def quiet(_done: int, _total: int) -> None:
    """Take no notice of progress."""


def mlp_model(run: Run, stage: int) -> Computations:
    objective = MlpObjective(run.layout(stage))
    return Computations(objective=objective, forward=objective.forward, inputs=("input",))


def make_run(
    stages: Sequence[StageSpec],
    *,
    seed: int = 0,
    shapes: Mapping[str, tuple[int, ...]] = MLP_SHAPES,
    buffers: Mapping[str, tuple[int, ...]] = {BUFFER: (HIDDEN,)},
    examples: int = 24,
    model_of: ModelOf = mlp_model,
    columns: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype = torch.float64,
    weighted: bool = False,
) -> Run:
    """Return a run whose boundary checkpoints were made by :func:`advance` itself."""
    blobs, generator = MemoryBlobs(), torch.Generator().manual_seed(seed)
    data = columns or make_columns(examples, generator=generator, dtype=dtype)
    values = {
        name: torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        for name, shape in {**shapes, **buffers}.items()
    }
    added = {name for spec in stages for name in spec.added if name not in spec.removed}
    first = sum(spec.steps for spec in stages) and 0
    records, step = [], first
    for index, spec in enumerate(stages):
        records.append(
            _stage(
                spec, index=index, first_step=step, blobs=blobs, seed=seed,
                values=values, examples=len(data["label"]), weighted=weighted,
            )
        )  # fmt: skip
        step += spec.steps
    start = Checkpoint(
        step=first,
        parameters=blobs.write(write_tensors({n: v for n, v in values.items() if n not in added})),
        optimizer=blobs.write(write_tensors({})),
    )
    log = StageLog(
        run=RunFacts(name="synthetic", created="2026-01-01T00:00:00Z", recorder="0", framework="0"),
        parameters={
            name: ParameterInfo(
                shape=tuple(value.shape),
                dtype=str(dtype).removeprefix("torch."),
                kind="buffer" if name in buffers else "parameter",
            )
            for name, value in values.items()
        },
        graphs={
            "net": Graph(
                onnx=EMPTY,
                inputs=(GraphValue(name="input", dtype="float64", shape=("N", FEATURES)),),
                outputs=(GraphValue(name="output", dtype="float64", shape=("N", CLASSES)),),
            )
        },
        datasets={"data": write_dataset(data, blobs=blobs)},
        start=start,
        stages=tuple(records),
    )
    return recorded_by_advance(log, blobs, model_of=model_of)


def recorded_by_advance(log: StageLog, blobs: MemoryBlobs, *, model_of: ModelOf) -> Run:
    """Return the run with the boundary checkpoints that its own steps lead to."""
    digest = digest_of(log)
    for index in range(len(log.stages)):
        run = Run(log, digest, blobs, model_of=model_of)
        lane = Lane(intervention=None, fraction=1.0, seed=0, replica=0)
        state = advance(run, index, [run.boundary(index)], lanes=[lane], on_block=quiet).states[0]
        checkpoint = write_checkpoint(
            state, run.layout(index), blobs=blobs, step=log.stages[index].end_step
        )
        stage = log.stages[index].model_copy(update={"checkpoints": (checkpoint,)})
        stages = (*log.stages[:index], stage, *log.stages[index + 1 :])
        log = log.model_copy(update={"stages": stages})
    return Run(log, digest, blobs, model_of=model_of)


def write_checkpoint(
    state: TrainingState, layout: ParameterLayout, *, blobs: MemoryBlobs, step: int
) -> Checkpoint:
    """Return a checkpoint in the encoding of recorded ones."""
    parts: dict[str, dict[str, Tensor]] = {"parameters": {}, "buffers": {}, "optimizer": {}}
    for key, tensor in state_tensors(state, layout).items():
        kind, _, rest = key.partition("/")
        parts[kind][rest] = tensor
    return Checkpoint(
        step=step,
        parameters=blobs.write(write_tensors({**parts["parameters"], **parts["buffers"]})),
        optimizer=blobs.write(write_tensors(parts["optimizer"])),
    )


def make_columns(
    examples: int, *, generator: torch.Generator, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Return random inputs, labels, a source of two and an integer group."""
    inputs = torch.randn(examples, FEATURES, generator=generator, dtype=torch.float64)
    return {
        "input": inputs.to(dtype),
        "label": torch.randint(0, CLASSES, (examples,), generator=generator),
        "source": (torch.arange(examples) % len(SOURCES)).to(torch.int32),
        "group": torch.arange(examples) // 6,
    }


def write_dataset(columns: Mapping[str, Tensor], *, blobs: MemoryBlobs) -> Dataset:
    """Return a dataset of one shard; ``source`` is a text column."""
    examples = len(next(iter(columns.values())))
    return Dataset(
        examples=examples,
        columns={
            name: Column(
                dtype=str(tensor.dtype).removeprefix("torch."),
                shape=tuple(tensor.shape[1:]),
                categories=SOURCES if name == "source" else None,
            )
            for name, tensor in columns.items()
        },
        shards=(Shard(digest=blobs.write(write_tensors(dict(columns))), count=examples),),
    )


def _stage(
    spec: StageSpec,
    *,
    index: int,
    first_step: int,
    blobs: MemoryBlobs,
    seed: int,
    values: Mapping[str, Tensor],
    examples: int,
    weighted: bool,
) -> Stage:
    draw = np.random.default_rng([seed, index])
    names = spec.groups[0].numbers or SGD
    factor = 1 + 0.5 * np.cos(np.arange(spec.steps))  # a schedule that differs at every step
    schedule = Schedule(
        first_step=first_step,
        columns={
            name: np.stack(
                [
                    group.numbers[name] * (factor if name == "lr" else np.ones(spec.steps))
                    for group in spec.groups
                ],
                axis=1,
            )
            for name in names
        },
    )
    sizes = [spec.batch] * (spec.steps - 1) + [max(1, spec.batch - 1)]
    rows = [
        (
            BatchRow(
                dataset=spec.dataset,
                indices=draw.integers(0, examples, size),
                weights=draw.uniform(0.5, 1.5, size) if weighted else None,
            ),
        )
        for size in sizes
    ]
    return Stage(
        name=f"stage{index}",
        graph="net",
        bindings=Bindings(inputs={"input": "input"}, target="label"),
        loss=Loss(kind="cross_entropy"),
        datasets=(spec.dataset,),
        first_step=first_step,
        end_step=first_step + spec.steps,
        transition=Transition(
            optimizer=spec.transition,
            added=spec.added,
            removed=spec.removed,
            added_values=blobs.write(write_tensors({n: values[n] for n in spec.added}))
            if spec.added
            else None,
        ),
        optimizer=Optimizer(kind=spec.kind, nesterov=spec.nesterov),
        groups=tuple(ParameterGroup(parameters=group.parameters) for group in spec.groups),
        schedule=blobs.write(write_schedule(schedule)),
        batches=blobs.write(write_batches(rows, first_step=first_step)),
        checkpoints=(Checkpoint(step=first_step + spec.steps, parameters=EMPTY, optimizer=EMPTY),),
    )
