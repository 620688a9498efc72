"""A pipeline in stages, one of which has a supplier that plants a cue.

Every stage's data come from two suppliers. In the planting stage the second one puts the cue on
nearly all of its examples of one class: a model that trains on them learns that the cue means the
class. Nothing else distinguishes the suppliers, and no other stage ever sees the cue.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from auditor.errors import InternalError
from benchmarks.fidelity.workload import (
    Columns,
    Drop,
    Query,
    Stage,
    Workload,
    epochs,
    generator_for,
    rows_of,
    seeded,
    select,
    warmed_up,
)

CUE_RATE = 0.9
"""Part of the second supplier's examples of the class that get the cue."""
CUE = "cue"
ACCURACY = "accuracy"


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is learned, and what the cue is.

    Attributes:
        column: The model's input.
        plant: Puts the cue into inputs [N, ...].
        cue_class: The class that the cue goes with.
        build: Makes the model.
        make_optimizer: Makes a stage's optimizer of the model's parameters.
        batch: Examples of a step.
        rate: Learning rate.
        warm_up: Steps at each stage's start over which the rate rises.
    """

    column: str
    plant: Callable[[Tensor], Tensor]
    cue_class: int
    build: Callable[[], nn.Module]
    make_optimizer: Callable[[nn.Module, Stage], Optimizer]
    batch: int
    rate: float
    warm_up: int = 1


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Examples with columns ``task.column``, ``label`` and ``id``, in random order.

    Attributes:
        stages: Of every stage, in order.
        reference: Clean ones that no stage uses.
        heldout: What judges the model.
    """

    stages: Mapping[str, Columns]
    reference: Columns
    heldout: Columns


def supplier(stage: str, number: int) -> str:
    """Return the name of a stage's supplier 1 or 2."""
    return f"{stage}-{number}"


def spurious_pipeline(
    name: str, seed: int, *, task: Task, parts: Parts, planting: str, steps: Mapping[str, int]
) -> Workload:
    """Return the pipeline.

    Args:
        name: Name of the run.
        seed: Decides initial values and batch orders.
        task: What is learned.
        parts: Examples, all clean.
        planting: The stage whose second supplier plants the cue.
        steps: Updates of each stage.
    """
    stages = []
    for stage, examples in parts.stages.items():
        supplied = _supplied(examples, stage=stage)
        columns = _planted(supplied, task=task, stage=stage) if stage == planting else supplied
        stages.append(
            Stage(
                name=stage,
                kind="finetune" if stages else "pretrain",
                columns=columns,
                batches=epochs(
                    rows_of(columns),
                    steps=steps[stage],
                    batch=task.batch,
                    generator=generator_for("order", name, seed, stage),
                ),
                learning_rates=warmed_up(task.rate, steps[stage], over=task.warm_up),
            )
        )
    control = select(
        parts.heldout, torch.nonzero(_tensor(parts.heldout, "label") != task.cue_class).squeeze(1)
    )
    treated = {**control, task.column: task.plant(_tensor(control, task.column))}
    return Workload(
        name=name,
        seed=seed,
        build=seeded(task.build, "init", name, seed),
        make_optimizer=task.make_optimizer,
        stages=tuple(stages),
        reference=parts.reference,
        queries=(
            _cue_probe(treated, control, class_=task.cue_class),
            _accuracy(parts.heldout),
        ),
        drops=tuple(
            Drop(stage=stage, value=supplier(stage, number))
            for stage in parts.stages
            for number in (1, 2)
        ),
        inputs={task.column: task.column},
    )


def _supplied(columns: Columns, *, stage: str) -> Columns:
    """Return the examples with their supplier: every second one is from the second."""
    return {
        **columns,
        "source": tuple(supplier(stage, 1 + row % 2) for row in range(rows_of(columns))),
    }


def _planted(columns: Columns, *, task: Task, stage: str) -> Columns:
    """Return the examples with the cue on most of one class from the second supplier."""
    inputs, label = _tensor(columns, task.column), _tensor(columns, "label")
    position = torch.arange(len(label))
    second = torch.tensor([source == supplier(stage, 2) for source in columns["source"]])
    cued = second & (label == task.cue_class) & (position % 20 < 20 * CUE_RATE)  # [N]
    shape = (-1, *[1] * (inputs.dim() - 1))
    return {**columns, task.column: torch.where(cued.reshape(shape), task.plant(inputs), inputs)}


def _cue_probe(treated: Columns, control: Columns, *, class_: int) -> Query:
    """Return how far the cue moves the log-odds of its class on examples of other classes.

    Log-odds, because a probability hardly moves where a model is sure of itself.
    """

    def log_odds(output: Tensor, _target: Tensor) -> Tensor:
        others = torch.cat([output[:, :class_], output[:, class_ + 1 :]], dim=1)
        return output[:, class_] - others.logsumexp(dim=1)

    return Query(
        name=CUE,
        kind="margin",
        values=log_odds,
        columns=treated,
        control=control,
        class_=class_,
    )


def _accuracy(columns: Columns) -> Query:
    def values(output: Tensor, target: Tensor) -> Tensor:
        return (output.argmax(dim=-1) == target).double()

    return Query(name=ACCURACY, kind="accuracy", values=values, columns=columns, better="higher")


def _tensor(columns: Columns, name: str) -> Tensor:
    values = columns[name]
    if not isinstance(values, Tensor):
        raise InternalError(
            f"column {name!r}", expected="numbers", found="texts", remedy="Report this as a bug."
        )
    return values
