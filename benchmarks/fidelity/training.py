"""The plain training loop: what a user's script does, with and without an intervention.

A :class:`Point` is a model together with its optimizer between two updates. Stages are run from a
point in place; :func:`copied` keeps one for later.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from benchmarks.fidelity.workload import Columns, Query, Stage, Workload


class DivergedError(ValueError):
    """A training ended with parameters that are not finite: this workload cannot be judged."""


@dataclass(frozen=True, kw_only=True)
class Feed:
    """What a stage's updates use: the examples, and the rows of every step [steps, B]."""

    columns: Columns
    batches: Tensor


@dataclass(kw_only=True)
class Point:
    """A model and its optimizer between two updates; no optimizer before the first stage."""

    model: nn.Module
    optimizer: Optimizer | None = None


def initial_point(workload: Workload) -> Point:
    """Return the untrained model."""
    return Point(model=workload.build())


def copied(point: Point) -> Point:
    """Return an independent copy: parameters, buffers and optimizer state."""
    model, optimizer = copy.deepcopy((point.model, point.optimizer))
    return Point(model=model, optimizer=optimizer)


def own_feed(stage: Stage) -> Feed:
    """Return what the stage uses as recorded."""
    return Feed(columns=stage.columns, batches=stage.batches)


def enter(workload: Workload, point: Point, stage: Stage) -> Optimizer:
    """Apply what happens at a stage's start to a point, and return the stage's optimizer.

    This belongs to the pipeline, not to the stage's updates: it happens also when they are skipped.
    """
    if stage.optimizer == "reset" or point.optimizer is None:
        point.optimizer = workload.make_optimizer(point.model, stage)
    return point.optimizer


def train_stage(
    workload: Workload, point: Point, stage: Stage, *, feed: Feed | None = None
) -> None:
    """Run one stage from a point, in place: what happens at its start, then its updates.

    Args:
        workload: Its loss and the columns that the model takes.
        point: Where to start; afterwards, where the stage ended.
        stage: Learning rates, and how the optimizer starts.
        feed: What the updates use; by default what is recorded.

    Raises:
        DivergedError: If parameters are not finite at the end.
    """
    enter(workload, point, stage)
    run_updates(workload, point, stage, feed=feed or own_feed(stage))


def run_updates(
    workload: Workload,
    point: Point,
    stage: Stage,
    *,
    feed: Feed,
    before_step: Callable[[Tensor], None] = lambda _rows: None,
) -> None:
    """Run the updates of a stage that was entered, in place; a recorder listens ``before_step``.

    Raises:
        DivergedError: If parameters are not finite at the end.
    """
    model, optimizer = point.model, point.optimizer
    assert optimizer is not None, "enter the stage first"
    inputs = [_tensor(feed.columns, column) for column in workload.inputs.values()]
    targets = _tensor(feed.columns, workload.target)
    model.train()
    for rows, rate in zip(feed.batches, stage.learning_rates.tolist(), strict=True):
        before_step(rows)
        for group in optimizer.param_groups:
            group["lr"] = rate
        output = model(*(values[rows] for values in inputs))
        loss = workload.mean_loss(output, targets[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        optimizer.step()
    optimizer.zero_grad()  # points are copied without gradients
    if not all(bool(torch.isfinite(p).all()) for p in model.parameters()):
        raise DivergedError(f"{workload.name}, seed {workload.seed}: diverged in {stage.name!r}")


def query_values(workload: Workload, query: Query, model: nn.Module) -> Tensor:
    """Return the query's value on every evaluation example, [N] float64; a probe's differences."""
    values = _values_on(workload, query.columns, model=model, query=query)
    if query.control is None:
        return values
    return values - _values_on(workload, query.control, model=model, query=query)


def _values_on(workload: Workload, columns: Columns, *, model: nn.Module, query: Query) -> Tensor:
    inputs = [_tensor(columns, column) for column in workload.inputs.values()]
    model.eval()
    with torch.no_grad():
        output = model(*inputs)
        return query.values(output, _tensor(columns, workload.target)).double()


def _tensor(columns: Columns, name: str) -> Tensor:
    values = columns[name]
    assert isinstance(values, Tensor), f"column {name!r} holds texts and cannot be computed with"
    return values
