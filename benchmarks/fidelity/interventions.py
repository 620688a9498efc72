"""What is asked of a workload: stages skipped, stages on other data, sources dropped."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from benchmarks.fidelity.training import Feed
from benchmarks.fidelity.workload import Drop, Stage, Workload, epochs, generator_for, rows_of


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One intervention.

    Attributes:
        kind: skip, replace or drop.
        stage: Name of the stage.
        drop: Which examples, of a drop.
    """

    kind: Literal["skip", "replace", "drop"]
    stage: str
    drop: Drop | None = None

    @property
    def name(self) -> str:
        """What the table calls it, beside the stage."""
        return self.kind if self.drop is None else f"drop {self.drop.column}={self.drop.value}"

    @property
    def key(self) -> str:
        """A text that tells it from the workload's others."""
        return f"{self.name} {self.stage}"


def asked_of(workload: Workload) -> tuple[Asked, ...]:
    """Return all interventions of a workload."""
    names = [stage.name for stage in workload.stages]
    return (
        *(Asked(kind="skip", stage=name) for name in names),
        *(Asked(kind="replace", stage=name) for name in names),
        *(Asked(kind="drop", stage=drop.stage, drop=drop) for drop in workload.drops),
    )


def feed_of(workload: Workload, asked: Asked, rows: Tensor) -> Feed:
    """Return what the stage uses under a replace or a drop whose rows [steps, B] are drawn."""
    if asked.kind == "replace":
        return Feed(columns=workload.reference, batches=rows)
    stage = workload.stages[workload.stage_index(asked.stage)]
    return Feed(columns=stage.columns, batches=rows)


def drawn_feed(workload: Workload, asked: Asked, generator: Generator) -> Feed:
    """Return what the stage uses under a replace or a drop in a rerun.

    ``replace`` uses shuffled epochs of the reference; ``drop`` puts, in the place of each dropped
    example, one drawn uniformly from those that the stage used and keeps: the library's rules, with
    draws of this benchmark's own.
    """
    stage = workload.stages[workload.stage_index(asked.stage)]
    if asked.kind == "replace":
        steps, batch = stage.batches.shape
        rows = epochs(rows_of(workload.reference), steps=steps, batch=batch, generator=generator)
        return feed_of(workload, asked, rows)
    assert asked.drop is not None
    dropped = dropped_rows(stage, asked.drop)  # [examples]
    used = torch.unique(stage.batches)
    pool = used[~dropped[used]]
    drawn = pool[torch.randint(len(pool), stage.batches.shape, generator=generator)]
    return feed_of(workload, asked, torch.where(dropped[stage.batches], drawn, stage.batches))


def dropped_rows(stage: Stage, drop: Drop) -> Tensor:
    """Return which examples of the stage are dropped, [examples] bool."""
    values = stage.columns[drop.column]
    assert not isinstance(values, Tensor), f"column {drop.column!r} holds no texts"
    return torch.tensor([value == drop.value for value in values])


def other_order(workload: Workload, stage: Stage, order: int) -> Feed:
    """Return a later stage in order 0, 1, ... of E2: its data, epochs shuffled anew."""
    steps, batch = stage.batches.shape
    generator = generator_for("E2", workload.name, workload.seed, order, stage.name)
    rows = epochs(stage.examples, steps=steps, batch=batch, generator=generator)
    return Feed(columns=stage.columns, batches=rows)
