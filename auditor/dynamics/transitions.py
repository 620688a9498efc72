"""Transitions R_t: what changes before a stage, applied also when the stage is skipped."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar, final

import torch
from torch import Tensor

from auditor.dynamics.state import PER_TENSOR_SLOTS, TrainingState
from auditor.errors import PreconditionError
from auditor.model.layout import ParameterLayout
from auditor.model.preferences import REFERENCE
from auditor.stagelog.log import Transition

Value = TypeVar("Value")

OPTIMIZER_FAMILIES = (
    frozenset({"momentum_buffer", "initialised"}),
    frozenset({"exp_avg", "exp_avg_sq", "count"}),
)
"""Slots that live together; state is never carried from one family to the other."""


def _as_it_is(state: TrainingState) -> TrainingState:
    return state


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TransitionMap:
    """R_t as an affine map of the state: by names, so that layouts may differ.

    Attributes:
        transition: As recorded.
        before: Layout of the states it takes.
        after: Layout of the states it gives.
        added: Recorded initial values of added parameters and buffers.
        slots: Optimizer slots that the stage's arithmetic needs.
        where: Name of the stage in messages.
        reference: What the stage's loss compares with: given parameters, [P] in ``after``; those
            that the stage starts from, which under an intervention are the counterfactual ones;
            or nothing.
        start: Adds what the stage keeps beside parameters and optimizer, and drops what the stage
            before kept.
    """

    transition: Transition
    before: ParameterLayout
    after: ParameterLayout
    added: Mapping[str, Tensor]
    slots: tuple[str, ...]
    where: str
    reference: Tensor | Literal["stage_start"] | None = None
    start: Callable[[TrainingState], TrainingState] = _as_it_is

    def __call__(self, state: TrainingState) -> TrainingState:
        """Return R_t(xi), for states with any leading axes.

        Added parameters take their recorded initial values and empty optimizer slots, removed ones
        are dropped, ``reset`` empties every slot; everything else keeps its value, renamed ones
        under their new name.

        Raises:
            PreconditionError: If the optimizer is kept but the state has none to keep.
        """
        fresh = {name for name in self.after.names if name in self.transition.added}
        theta = self._moved(state.theta, fresh=fresh)
        slots = self._slots(state, fresh=fresh)
        if self.reference is not None:
            start = theta if isinstance(self.reference, str) else self.reference.expand_as(theta)
            slots[REFERENCE] = start.clone()  # two slots of a state share no memory
        after = TrainingState(theta=theta, slots=slots, buffers=self._buffers(state))
        return self.start(after)

    def _same(self, fresh: set[str]) -> bool:
        return self.before == self.after and not fresh and not self.transition.renamed

    def _named(self, tensors: Mapping[str, Value]) -> dict[str, Value]:
        """Return values by the names that their tensors have after the transition, in order."""
        new_names = self.transition.new_names
        return {new_names.get(name, name): value for name, value in tensors.items()}

    def _moved(self, theta: Tensor, *, fresh: set[str]) -> Tensor:
        if self._same(fresh):
            return theta
        named = self._named(self.before.unflatten(theta))
        lead = theta.shape[:-1]
        for name in fresh:
            value = self.added[name].to(theta)
            named[name] = value.expand(*lead, *value.shape)
        return self.after.flatten(named)

    def _buffers(self, state: TrainingState) -> dict[str, Tensor]:
        lead = state.theta.shape[:-1]
        buffers = self._named({
            n: b for n, b in state.buffers.items() if n not in self.transition.removed
        })
        for name, value in self.added.items():
            if name not in self.after.names and value.is_floating_point():
                own = value.to(state.theta.device)
                buffers[name] = own.expand(*lead, *own.shape)
        return buffers

    def _slots(self, state: TrainingState, *, fresh: set[str]) -> dict[str, Tensor]:
        kept: Mapping[str, Tensor] = {}
        if self.transition.optimizer == "keep":
            kept = {slot: v for slot, v in state.slots.items() if slot != REFERENCE}
            self._require_family(kept)
        needed = set(self.slots) | set(kept)
        return {slot: self._slot(slot, kept, state=state, fresh=fresh) for slot in sorted(needed)}

    def _slot(
        self, slot: str, kept: Mapping[str, Tensor], *, state: TrainingState, fresh: set[str]
    ) -> Tensor:
        lead = state.theta.shape[:-1]
        per_tensor = slot in PER_TENSOR_SLOTS
        size = len(self.after.names) if per_tensor else self.after.size
        if slot not in kept:
            return state.theta.new_zeros(*lead, size)
        values = kept[slot]
        if self._same(fresh):
            return values
        if per_tensor:
            column = {
                n: values[..., i]
                for i, n in enumerate(self._named(dict.fromkeys(self.before.names)))
                if n not in fresh
            }
            zero = values.new_zeros(lead)
            return torch.stack([column.get(name, zero) for name in self.after.names], dim=-1)
        moved = self._named(self.before.unflatten(values))
        named = {n: v for n, v in moved.items() if n not in fresh}
        for name, shape in zip(self.after.names, self.after.shapes, strict=True):
            named.setdefault(name, values.new_zeros(*lead, *shape))
        return self.after.flatten(named)

    def _require_family(self, kept: Mapping[str, Tensor]) -> None:
        for family in OPTIMIZER_FAMILIES:
            if set(kept) & family and set(self.slots) - family:
                raise PreconditionError(
                    f"{self.where}.transition.optimizer",
                    expected="the state of the stage's own optimizer",
                    found=f"slots {', '.join(sorted(kept))}",
                    remedy="Record `reset` where a stage starts a new optimizer.",
                )
