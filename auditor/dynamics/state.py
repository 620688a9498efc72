"""The training state xi = (theta, optimizer tensors, buffers), and its encodings as blobs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from auditor.errors import InternalError, StageLogError
from auditor.model.layout import ParameterLayout
from auditor.model.preferences import REFERENCE

AVERAGE, AVERAGED = "average", "averaged"
"""Slots of a moving average of theta, [..., P], and of whether it exists, [..., n]."""

PER_TENSOR_SLOTS = frozenset({"initialised", "count", AVERAGED})
"""Optimizer slots that hold one number per parameter tensor, [..., n]; the others are [..., P]."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingState:
    """What a step map maps: a point of a real vector space, so that gates and tangents make sense.

    Buffers that are not floating point are no part of it: they are constants of the run.

    Attributes:
        theta: Parameters, [..., P]; leading axes are lanes.
        slots: Optimizer tensors by slot: [..., P], or [..., n] for ``PER_TENSOR_SLOTS``.
        buffers: Floating-point buffers by name, [..., *shape].
    """

    theta: Tensor
    slots: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Theta, slots and buffers in a fixed order (names sorted); see :meth:`replaced`."""
        return (
            self.theta,
            *(self.slots[name] for name in sorted(self.slots)),
            *(self.buffers[name] for name in sorted(self.buffers)),
        )

    def replaced(self, tensors: Sequence[Tensor]) -> "TrainingState":
        """Return a state of the same structure from tensors in the order of :attr:`tensors`."""
        slots, buffers = sorted(self.slots), sorted(self.buffers)
        if len(tensors) != 1 + len(slots) + len(buffers):
            raise InternalError(
                "training state",
                expected=f"{1 + len(slots) + len(buffers)} tensors",
                found=len(tensors),
                remedy="Keep the structure of the state it was taken from.",
            )
        return TrainingState(
            theta=tensors[0],
            slots=dict(zip(slots, tensors[1 : 1 + len(slots)], strict=True)),
            buffers=dict(zip(buffers, tensors[1 + len(slots) :], strict=True)),
        )


def forward_buffers(state: TrainingState, constants: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what a stage's loss depends on besides theta: buffers, constants, the reference."""
    held = {REFERENCE: state.slots[REFERENCE]} if REFERENCE in state.slots else {}
    return {**state.buffers, **constants, **held}


def with_slots(
    state: TrainingState, slots: Sequence[str], *, layout: ParameterLayout
) -> TrainingState:
    """Return the state with empty slots for those that it lacks; [..., P] or [..., n] zeros."""
    lead = state.theta.shape[:-1]
    absent = {
        slot: state.theta.new_zeros(
            *lead, len(layout.names) if slot in PER_TENSOR_SLOTS else layout.size
        )
        for slot in slots
        if slot not in state.slots
    }
    return replace(state, slots={**state.slots, **absent}) if absent else state


def form_of(state: TrainingState) -> TrainingState:
    """Return a state of the same structure without its memory, for :meth:`~.replaced`."""
    return state.replaced([tensor.new_empty(0) for tensor in state.tensors])


def stack(states: Iterable[TrainingState]) -> TrainingState:
    """Return one state whose leading axis are the lanes; all must have the same structure.

    Of states that nobody else holds each tensor is let go as soon as it was copied.
    """
    form, rows = None, []
    for state in states:
        form = form or form_of(state)
        rows.append(list(state.tensors)[::-1])
        del state
    if form is None:
        raise InternalError(
            "lanes", expected="at least one state", found="none", remedy="Stack those that move."
        )
    return form.replaced([torch.stack([row.pop() for row in rows]) for _ in form.tensors])


def unstack(state: TrainingState) -> list[TrainingState]:
    """Return the lanes of a stacked state, each in memory of its own."""
    return unstack_tensors(list(state.tensors), form=state)


def unstack_tensors(tensors: list[Tensor], *, form: TrainingState) -> list[TrainingState]:
    """Return the lanes of a stacked state, each in memory of its own, and empty the list.

    Args:
        tensors: In the order of :attr:`TrainingState.tensors`, [L, ...] each.
        form: Has the structure of the lanes.
    """
    rows: list[list[Tensor]] = [[] for _ in range(len(tensors[0]))]
    tensors.reverse()
    while tensors:
        column = tensors.pop()
        for row, own in zip(rows, column.unbind(0), strict=True):
            row.append(own.clone())
    return [form.replaced(row) for row in rows]


def state_tensors(state: TrainingState, layout: ParameterLayout) -> dict[str, Tensor]:
    """Return a single state as named tensors of a state blob.

    Names: ``parameters/<name>``, ``buffers/<name>``, ``optimizer/<slot>/<name>``.
    """
    named = {f"parameters/{n}": t for n, t in layout.unflatten(state.theta).items()}
    named |= {f"buffers/{name}": tensor for name, tensor in state.buffers.items()}
    for slot, values in state.slots.items():
        if slot in PER_TENSOR_SLOTS:
            parts = dict(zip(layout.names, values.unbind(-1), strict=True))
        else:
            parts = layout.unflatten(values)
        named |= {f"optimizer/{slot}/{name}": tensor for name, tensor in parts.items()}
    return named


def state_from_tensors(
    tensors: Mapping[str, Tensor], layout: ParameterLayout, *, where: str = "state"
) -> TrainingState:
    """Return the state that :func:`state_tensors` wrote.

    Raises:
        StageLogError: If names are of another form or do not fit the layout.
        ShapeError: If a tensor is missing or has another shape.
    """
    parameters: dict[str, Tensor] = {}
    buffers: dict[str, Tensor] = {}
    slots: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        kind, _, rest = key.partition("/")
        if kind == "parameters":
            parameters[rest] = tensor
        elif kind == "buffers":
            buffers[rest] = tensor
        elif kind == "optimizer" and "/" in rest:
            slot, _, name = rest.partition("/")
            slots.setdefault(slot, {})[name] = tensor
        else:
            raise StageLogError(
                f"{where}[{key}]",
                expected="parameters/…, buffers/… or optimizer/<slot>/…",
                found=key,
                remedy="Pass a state that an Advance action wrote.",
            )
    return TrainingState(
        theta=layout.flatten(parameters),
        slots={slot: _slot(slot, named, layout=layout) for slot, named in slots.items()},
        buffers=buffers,
    )


def recorded_state(
    parameters: Mapping[str, Tensor],
    optimizer: Mapping[str, Tensor],
    *,
    layout: ParameterLayout,
    buffer_names: frozenset[str],
) -> TrainingState:
    """Return the state of a recorded checkpoint.

    Args:
        parameters: Parameters and buffers by name.
        optimizer: ``<slot>/<name>``; a parameter that the optimizer never touched may be absent
            and has zeros.
        layout: Layout of theta.
        buffer_names: Which names are buffers; those that are not floating point are left out.
    """
    theta = layout.flatten(parameters)
    slots: dict[str, dict[str, Tensor]] = {}
    for key, tensor in optimizer.items():
        slot, _, name = key.partition("/")
        if name in layout.names:
            slots.setdefault(slot, {})[name] = tensor
    shapes = dict(zip(layout.names, layout.shapes, strict=True))
    for slot, named in slots.items():
        for name in layout.names:
            shape = () if slot in PER_TENSOR_SLOTS else shapes[name]
            named.setdefault(name, theta.new_zeros(shape))
    return TrainingState(
        theta=theta,
        slots={
            slot: _slot(slot, named, layout=layout).to(theta.dtype) for slot, named in slots.items()
        },
        buffers={
            name: tensor
            for name, tensor in parameters.items()
            if name in buffer_names and tensor.is_floating_point()
        },
    )


def _slot(slot: str, named: Mapping[str, Tensor], *, layout: ParameterLayout) -> Tensor:
    """Return one optimizer slot as [..., n] or [..., P]."""
    if slot not in PER_TENSOR_SLOTS:
        return layout.flatten(named)
    missing = [name for name in layout.names if name not in named]
    if missing:
        raise StageLogError(
            f"optimizer/{slot}",
            expected="a number for every parameter",
            found=f"none for {missing[0]}",
            remedy="Write the state with every parameter of the layout.",
        )
    return torch.stack([named[name] for name in layout.names], dim=-1)
