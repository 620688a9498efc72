"""Gated retraining written as a plain loop over named tensors: the truth that dynamics must meet.

Nothing of ``auditor.dynamics`` takes part but the reading of the log: gradients are autograd's,
updates are textbook formulas per tensor, gates act on every tensor of the state.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState
from auditor.model.objective import Minibatch
from auditor.stagelog.log import Stage

Named = dict[str, Tensor]
Gates = Callable[[int], float]
"""Global step -> alpha, any real number."""


@dataclass
class DenseState:
    """Parameters, optimizer slots and buffers by name."""

    theta: Named
    slots: dict[str, Named]
    buffers: Named

    def mixed(self, proposed: "DenseState", *, alpha: float, only: str) -> "DenseState":
        def mix(before: Named, after: Named) -> Named:
            return {n: before[n] + alpha * (after[n] - before[n]) for n in before}

        if only == "parameters":
            return DenseState(mix(self.theta, proposed.theta), proposed.slots, proposed.buffers)
        return DenseState(
            mix(self.theta, proposed.theta),
            {slot: mix(self.slots[slot], proposed.slots[slot]) for slot in self.slots},
            mix(self.buffers, proposed.buffers),
        )


def retrain(run: Run, gates: Gates, *, start: int = 0, gated: str = "state") -> DenseState:
    """Return the final state of the run from boundary ``start`` under ``gates``.

    Args:
        run: The recorded run.
        gates: Alpha of every step.
        start: Boundary to start from, as recorded.
        gated: ``state``, or ``parameters`` for the alternative that decisions rule out.
    """
    recorded = run.boundary(start)
    state = named(run, recorded, boundary=start)
    for index in range(start, len(run.log.stages)):
        stage = run.log.stages[index]
        state = _transition(run, index, state)
        for step in range(stage.first_step, stage.end_step):
            proposed = _step(run, index, state, step=step)
            state = state.mixed(proposed, alpha=gates(step), only=gated)
    return state


def continued(run: Run, index: int, state: DenseState, *, steps: range) -> DenseState:
    """Return the state after some steps of a stage, in global numbering, without R_t."""
    for step in steps:
        state = _step(run, index, state, step=step)
    return state


def flat(run: Run, state: DenseState) -> Tensor:
    """Return theta in the final layout."""
    return run.layout(len(run.log.stages) - 1).flatten(state.theta)


def derivative(value: Callable[[float], Tensor], *, at: float, width: float = 2e-4) -> Tensor:
    """Return the derivative by central differences with one Richardson step: error O(width^4)."""
    coarse = (value(at + width) - value(at - width)) / (2 * width)
    fine = (value(at + width / 2) - value(at - width / 2)) / width
    return (4 * fine - coarse) / 3


def within(first: int, end: int, *, alpha: float) -> Gates:
    """Return gates that are ``alpha`` in [first, end) and 1 elsewhere."""
    return lambda step: alpha if first <= step < end else 1.0


def named(run: Run, state: TrainingState, *, boundary: int) -> DenseState:
    """Return a state at a boundary by names."""
    layout = run.boundary_layout(boundary)
    slots = {
        slot: dict(zip(layout.names, values.unbind(-1), strict=True))
        if slot in {"count", "initialised"}
        else layout.unflatten(values)
        for slot, values in state.slots.items()
    }
    return DenseState(layout.unflatten(state.theta), slots, dict(state.buffers))


def _transition(run: Run, index: int, state: DenseState) -> DenseState:
    stage = run.log.stages[index]
    theta = {n: v for n, v in state.theta.items() if n not in stage.transition.removed}
    if stage.transition.added:
        theta |= run.transition(index).added
    scalar = {"count", "initialised"}
    needed = (
        {"count", "exp_avg", "exp_avg_sq"}
        if stage.optimizer.kind != "sgd"
        else {"momentum_buffer", "initialised"}
    )
    kept = state.slots if stage.transition.optimizer == "keep" else {}
    slots = {
        slot: {
            n: ({} if n in stage.transition.added else kept.get(slot, {})).get(
                n, torch.zeros((), dtype=v.dtype) if slot in scalar else torch.zeros_like(v)
            )
            for n, v in theta.items()
        }
        for slot in needed
    }
    return DenseState(theta, slots, state.buffers)


def _step(run: Run, index: int, state: DenseState, *, step: int) -> DenseState:
    stage, layout = run.log.stages[index], run.layout(index)
    batch = minibatch(run, stage, index=index, step=step)
    leaves = {n: v.detach().clone().requires_grad_() for n, v in state.theta.items()}
    loss, buffers = run.objective(index).loss(layout.flatten(leaves), state.buffers, batch)
    gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    gradient = {
        n: torch.zeros_like(leaves[n]) if g is None else g
        for n, g in zip(leaves, gradients, strict=True)
    }
    theta, slots = dict(state.theta), {slot: dict(v) for slot, v in state.slots.items()}
    schedule = run.schedule(index).columns
    update = _sgd if stage.optimizer.kind == "sgd" else _adam
    for number, group in enumerate(stage.groups):
        h = {c: float(v[step - stage.first_step, number]) for c, v in schedule.items()}
        for name in group.parameters:
            update(stage, name, gradient[name], theta, slots, h)
    buffers = {n: b.detach() for n, b in buffers.items()}
    return DenseState(theta, slots, {**state.buffers, **buffers})


def _sgd(
    stage: Stage, n: str, g: Tensor, theta: Named, slots: dict[str, Named], h: dict[str, float]
) -> None:
    g = g + h["weight_decay"] * theta[n]
    direction = g
    if h["momentum"] != 0:
        existed = slots["initialised"][n]
        v = h["momentum"] * slots["momentum_buffer"][n] + (1 - h["dampening"] * existed) * g
        slots["momentum_buffer"][n], slots["initialised"][n] = v, torch.ones_like(existed)
        direction = g + h["momentum"] * v if stage.optimizer.nesterov else v
    theta[n] = theta[n] - h["lr"] * direction


def _adam(
    stage: Stage, n: str, g: Tensor, theta: Named, slots: dict[str, Named], h: dict[str, float]
) -> None:
    if stage.optimizer.kind == "adamw":
        theta[n] = theta[n] * (1 - h["lr"] * h["weight_decay"])
    else:
        g = g + h["weight_decay"] * theta[n]
    count = slots["count"][n] + 1
    m = h["beta1"] * slots["exp_avg"][n] + (1 - h["beta1"]) * g
    v = h["beta2"] * slots["exp_avg_sq"][n] + (1 - h["beta2"]) * g**2
    slots["count"][n], slots["exp_avg"][n], slots["exp_avg_sq"][n] = count, m, v
    m_hat, v_hat = m / (1 - h["beta1"] ** count), v / (1 - h["beta2"] ** count)
    theta[n] = theta[n] - h["lr"] * m_hat / (v_hat.sqrt() + h["eps"])


def minibatch(run: Run, stage: Stage, *, index: int, step: int) -> Minibatch:
    rows: Sequence = run.batches(index).rows(step)
    like = run.boundary(0).theta
    parts, weights = {c: [] for c in ("input", "label")}, []
    for row in rows:
        columns = run.columns(row.dataset)
        for column, found in parts.items():
            found.append(columns[column][torch.from_numpy(row.indices.copy())])
        weights.append(np.ones(len(row.indices)) if row.weights is None else row.weights)
    factor = torch.from_numpy(np.concatenate(weights)).to(like)
    total = len(factor) if stage.loss.reduction == "mean" else 1
    return Minibatch(
        inputs=(torch.cat(parts["input"]),),
        target=torch.cat(parts["label"]),
        weights=factor,
        denominator=like.new_tensor(total),
    )
