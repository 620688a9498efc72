"""The step map Phi_k: a whole training state to the next, from one minibatch's gradient."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from auditor.curvature.base import GradientFunction
from auditor.dynamics.adam import AdamForm, AdamNumbers, adam_update
from auditor.dynamics.averaging import averaged
from auditor.dynamics.clipping import clipped
from auditor.dynamics.groups import GroupSpan
from auditor.dynamics.heat import NOISE, SECOND, halves
from auditor.dynamics.hyperparameters import StepForm
from auditor.dynamics.loss_scale import scaled_batch, unless_refused, unscaled
from auditor.dynamics.sgd import SgdForm, sgd_update
from auditor.dynamics.state import PER_TENSOR_SLOTS, TrainingState, forward_buffers
from auditor.model.objective import Minibatch
from auditor.stagelog.log import Clipping

Pieces = dict[str, Tensor]
"""Theta and slots of one group, by name; theta under ``theta``."""


@final
@dataclass(frozen=True, kw_only=True)
class StepMap:
    """Phi_k for steps of one form: gradient, then the update of every group.

    Pure, for one lane; safe inside ``torch.func`` transforms.

    Attributes:
        gradient_of: Value and derivatives of the mean gradient.
        constants: Buffers that are not floating point, which no step changes.
        spans: Where each group lies, and last the frozen parameters, which stay as they are.
        form: Which terms each group's arithmetic has.
        uniform: Whether the tensors of each group share one count (or ``initialised``).
        clipping: What is done with the gradient before the update.
        ema_decay: Of the moving average that follows every step; None without one.
        fraction: b / B where Adam's second moment is rid of a sub-sample's noise, else None.
        scaled: Whether a gradient scaler trained the stage; then a row ends with its scale.
    """

    gradient_of: GradientFunction
    constants: Mapping[str, Tensor]
    spans: Sequence[GroupSpan]
    form: StepForm
    uniform: bool
    clipping: Clipping | None = None
    ema_decay: float | None = None
    fraction: float | None = None
    scaled: bool = False

    def __call__(self, state: TrainingState, batch: Minibatch, row: Tensor) -> TrainingState:
        """Return xi_{k+1}.

        Args:
            state: xi_k, without lane axes.
            batch: The step's examples.
            row: The step's of :attr:`~auditor.dynamics.hyperparameters.Hyperparameters.step_rows`.
        """
        if self.scaled:
            return self._scaled(state, batch, row=row[:-1], scale=row[-1].to(state.theta.dtype))
        gradient, noise, buffers = self._gradient(state, batch)
        return self.update(state, gradient, row=row, buffers=buffers, noise=noise)

    def _scaled(
        self, state: TrainingState, batch: Minibatch, *, row: Tensor, scale: Tensor
    ) -> TrainingState:
        gradient, noise, buffers = self._gradient(state, scaled_batch(batch, scale))
        trained = self.spans[-1].begin
        gradient, taken = unscaled(gradient, scale, trained=trained)
        if noise is not None:
            noise, _ = unscaled(noise, scale.square(), trained=trained)
        after = self.update(state, gradient, row=row, buffers=buffers, noise=noise)
        return unless_refused(state, after, taken)

    def _gradient(
        self, state: TrainingState, batch: Minibatch
    ) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        """Return the gradient, its noise where that is taken out of Adam's v, and the buffers."""
        buffers = forward_buffers(state, self.constants)
        if self.fraction is None:
            gradient, after = self.gradient_of(state.theta, buffers, batch)
            return gradient, None, after
        first, second, part = halves(batch)
        one, buffers = self.gradient_of(state.theta, buffers, first)
        moved = {**forward_buffers(state, self.constants), **buffers}
        other, buffers = self.gradient_of(state.theta, moved, second)
        gradient = part * one + (1 - part) * other
        noise = part * (1 - part) * (one - other).square()
        return gradient, noise, buffers

    def update(
        self,
        state: TrainingState,
        gradient: Tensor,
        *,
        row: Tensor,
        buffers: dict[str, Tensor],
        noise: Tensor | None = None,
    ) -> TrainingState:
        """Return the state after the optimizer's update by a given gradient, [P].

        Args:
            state: The state before.
            gradient: [P], before clipping.
            row: The step's row of hyperparameters.
            buffers: After the forward pass.
            noise: Variance of a sub-sample's gradient, [P]; see :mod:`auditor.dynamics.heat`.
        """
        gradient, noise = clipped(
            gradient, noise, clipping=self.clipping, trained=self.spans[-1].begin
        )
        numbers = row.unbind(0)
        columns = len(numbers) // len(self.form)
        parts: list[Pieces] = []
        for index, (span, form) in enumerate(zip(self.spans, self.form, strict=False)):
            before = _cut(state, span)
            own = span.entries(gradient)
            of_group = numbers[index * columns : (index + 1) * columns]
            expand = span.expander(uniform=self.uniform)
            if isinstance(form, SgdForm):
                after = _sgd(before, own, numbers=of_group, form=form, expand=expand)
            else:
                after = _adam(
                    before,
                    own,
                    numbers=of_group,
                    form=form,
                    expand=expand,
                    heat=None if noise is None else (span.entries(noise), self.fraction or 1.0),
                )
            parts.append({**before, **after})
        if self.spans[-1].layout.names:
            parts.append(_cut(state, self.spans[-1]))
        theta = _join(parts, name="theta")
        slots = {slot: _join(parts, name=slot) for slot in state.slots}
        if self.ema_decay is not None:
            slots = averaged(slots, theta, decay=self.ema_decay)
        return TrainingState(
            theta=theta,
            slots=slots,
            buffers={name: buffers.get(name, old) for name, old in state.buffers.items()},
        )


def _sgd(
    before: Pieces,
    gradient: Tensor,
    *,
    numbers: Sequence[Tensor],
    form: SgdForm,
    expand: Callable[[Tensor], Tensor],
) -> Pieces:
    lr, momentum, dampening, decay = numbers
    theta, memory = sgd_update(
        before["theta"],
        gradient,
        (before["momentum_buffer"], before["initialised"]) if form.momentum else None,
        numbers=(lr, momentum, dampening, decay),
        form=form,
        expand=expand,
    )
    if memory is None:
        return {"theta": theta}
    return {"theta": theta, "momentum_buffer": memory[0], "initialised": memory[1]}


def _adam(
    before: Pieces,
    gradient: Tensor,
    *,
    numbers: Sequence[Tensor],
    form: AdamForm,
    expand: Callable[[Tensor], Tensor],
    heat: tuple[Tensor, float] | None,
) -> Pieces:
    lr, beta1, beta2, eps, decay = numbers
    averaged: Pieces = {}
    if heat is not None:
        noise, fraction = heat
        averaged[NOISE] = torch.lerp(before[NOISE], noise, (1 - beta2).to(noise.dtype))
        heat = (averaged[NOISE], fraction)
    theta, (first, second, count) = adam_update(
        before["theta"],
        gradient,
        (before["exp_avg"], before[SECOND], before["count"]),
        numbers=AdamNumbers(
            learning_rate=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=decay
        ),
        form=form,
        expand=expand,
        heat=heat,
    )
    return {"theta": theta, "exp_avg": first, SECOND: second, "count": count, **averaged}


def _cut(state: TrainingState, span: GroupSpan) -> Pieces:
    """Return one group's part of theta and of every slot."""
    pieces = {"theta": span.entries(state.theta)}
    for slot, values in state.slots.items():
        cut = span.numbers if slot in PER_TENSOR_SLOTS else span.entries
        pieces[slot] = cut(values)
    return pieces


def _join(parts: Sequence[Pieces], *, name: str) -> Tensor:
    """Return the parts of one tensor side by side."""
    return parts[0][name] if len(parts) == 1 else torch.cat([part[name] for part in parts], dim=-1)
