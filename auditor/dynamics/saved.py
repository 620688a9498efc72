"""Lanes inside a stage: where each is, and its encoding as bytes that another process goes on from.

A state inside a stage has more than one at a boundary: the average of the sub-sample's noise
(:mod:`auditor.dynamics.heat`), the reference of preferences, a moving average that is not released.
It is kept as it is, so that the steps after it are the same arithmetic.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from auditor.dynamics.run import Run
from auditor.dynamics.state import PER_TENSOR_SLOTS, TrainingState
from auditor.errors import StageLogError
from auditor.model.tensors import read_tensors, write_tensors

FORMAT = 1
"""Raised when what a state inside a stage consists of, or means, changes: others are refused."""

_PLACE, _THETA = "place", "theta"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Saved:
    """A lane inside a stage.

    Attributes:
        step: How many of the stage's steps it has behind it.
        state: Its state there, without lane axis.
    """

    step: int
    state: TrainingState


class _Place(NamedTuple):
    """A step and a state with (or, where ``lane`` is None, without) a lane axis: not copied."""

    step: int
    state: TrainingState
    lane: int | None


@final
class Places:
    """Where lanes are, by name; it outlives a computation that is stopped at a block boundary."""

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}

    def put(self, name: str, saved: Saved) -> None:
        """Let a lane go on from a state."""
        self._places[name] = _Place(saved.step, saved.state, None)

    def get(self, name: str) -> Saved | None:
        """Return where a lane is; None before its first block."""
        place = self._places.get(name)
        if place is None:
            return None
        if place.lane is None:
            return Saved(step=place.step, state=place.state)
        own = place.state.replaced([tensor[place.lane] for tensor in place.state.tensors])
        return Saved(step=place.step, state=own)

    def steps(self) -> Mapping[str, int]:
        """Return the steps that each lane has behind it."""
        return {name: place.step for name, place in self._places.items()}

    def reached(self, names: Sequence[str], *, step: int, state: TrainingState) -> None:
        """Note where lanes are; ``state`` has a lane axis if there are several."""
        for lane, name in enumerate(names):
            self._places[name] = _Place(step, state, lane if len(names) > 1 else None)

    def left(self, names: Sequence[str]) -> None:
        """Forget where lanes were, so that their states are free for the steps to come."""
        for name in names:
            self._places.pop(name, None)

    def keep_only(self, names: Sequence[str]) -> None:
        """Forget all other lanes, and free what they share memory with."""
        kept = set(names) & set(self._places)
        if len(kept) < len(self._places):
            alone = {name: own for name in kept if (own := self.get(name)) is not None}
            self._places = {}
            for name, own in alone.items():
                copies = own.state.replaced([tensor.clone() for tensor in own.state.tensors])
                self.put(name, Saved(step=own.step, state=copies))


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    """The lanes of one computation and where they are.

    Attributes:
        places: Read at the start, written at block boundaries.
        names: One a lane.
    """

    places: Places
    names: tuple[str, ...]

    @classmethod
    def new(cls, lanes: int) -> "Passage":
        """Return the passage of lanes that start at the stage's first step."""
        return cls(places=Places(), names=tuple(str(lane) for lane in range(lanes)))

    def saved(self, lane: int) -> Saved | None:
        """Return where a lane goes on from; None for the stage's start."""
        return self.places.get(self.names[lane])

    def first_step(self, lane: int) -> int:
        """Return the first step that a lane has not behind it."""
        return self.places.steps().get(self.names[lane], 0)

    def of(self, lanes: Sequence[int]) -> "Passage":
        """Return the passage of some of the lanes."""
        return Passage(places=self.places, names=tuple(self.names[lane] for lane in lanes))

    def left(self, lanes: Sequence[int]) -> None:
        """Forget where lanes were: they are on their way through the next block."""
        self.places.left([self.names[lane] for lane in lanes])

    def reached(self, lanes: Sequence[int], *, step: int, state: TrainingState) -> None:
        """Note where lanes are; ``state`` has a lane axis if there are several."""
        self.places.reached([self.names[lane] for lane in lanes], step=step, state=state)


def saved_bytes(saved: Saved) -> bytes:
    """Return the encoding that :func:`read_saved` reads: safetensors, every bit kept.

    Names: ``place`` [format, step], ``theta``, ``slots/<slot>``, ``buffers/<name>``.
    """
    state = saved.state
    return write_tensors({
        _PLACE: torch.tensor([FORMAT, saved.step]),
        _THETA: state.theta,
        **{f"slots/{name}": values for name, values in state.slots.items()},
        **{f"buffers/{name}": values for name, values in state.buffers.items()},
    })


def read_saved(data: bytes | memoryview, run: Run, *, stage_index: int) -> Saved:
    """Return the lane that :func:`saved_bytes` wrote.

    Args:
        data: The encoding.
        run: The recorded run.
        stage_index: The stage, from 0.

    Raises:
        InputError: If it is no safetensors file.
        StageLogError: If it is of another format, or does not fit the stage.
    """
    stage, layout = run.log.stages[stage_index], run.layout(stage_index)
    slots_needed = set(run.transition(stage_index).slots)
    like = run.boundary(stage_index).theta  # a transition keeps its dtype
    tensors = read_tensors(data, where="saved state")
    place = tensors.pop(_PLACE, torch.zeros(0, dtype=torch.int64))
    form, step = place.tolist() if place.shape == (2,) else (0, 0)
    theta = tensors.pop(_THETA, like.new_zeros(0))
    slots = _part(tensors, "slots/")
    buffers = _part(tensors, "buffers/")
    shapes = {
        name: (len(layout.names) if name in PER_TENSOR_SLOTS else layout.size,) for name in slots
    }
    fits = (
        form == FORMAT
        and 0 < step <= stage.steps
        and theta.shape == (layout.size,)
        and slots_needed <= set(slots)
        and all(values.shape == shapes[name] for name, values in slots.items())
        and _kinds(buffers) == _buffer_kinds(run, stage_index)
        and all(values.dtype == like.dtype for values in (theta, *slots.values()))
    )
    if not fits:
        raise StageLogError(
            "saved state",
            expected=f"format {FORMAT}, at most {stage.steps} steps, the stage's tensors",
            found=f"format {form}, {step} steps, {theta.numel()} parameters",
            remedy="Start the stage from its first step.",
        )
    device = like.device
    return Saved(
        step=int(step),
        state=TrainingState(
            theta=theta.to(device),
            slots={name: values.to(device) for name, values in slots.items()},
            buffers={name: values.to(device) for name, values in buffers.items()},
        ),
    )


def _buffer_kinds(run: Run, stage_index: int) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Return shape and dtype of a stage's buffers that are part of its states."""
    alive = run.alive[stage_index + 1]
    return {
        name: (torch.Size(info.shape), getattr(torch, info.dtype))
        for name, info in run.log.parameters.items()
        if name in alive and info.kind == "buffer" and not info.tied_to and "float" in info.dtype
    }


def _kinds(tensors: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): own for n, own in tensors.items() if n.startswith(prefix)}
