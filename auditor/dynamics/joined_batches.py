"""Minibatches of lanes from several runs, side by side on one lane axis."""

from collections.abc import Iterator, Sequence
from typing import Protocol, final

import numpy as np
import torch
from torch import Tensor

from auditor.dynamics.minibatches import BlockExamples, StageBatches
from auditor.errors import InternalError


class LaneBatches(Protocol):
    """The minibatches of lanes that take steps of the same sizes."""

    @property
    def alpha(self) -> np.ndarray:
        """Gate of every lane and step, [L, steps]."""

    @property
    def sizes(self) -> np.ndarray:
        """Examples per lane and step, [steps]."""

    @property
    def fraction(self) -> float:
        """The part b / B of each step that every lane uses."""

    def shared(self, lanes: Sequence[int]) -> bool:
        """Say whether these lanes use the same examples with the same weights at every step."""

    def block(self, first: int, end: int, *, lanes: Sequence[int]) -> BlockExamples:
        """Return the examples of steps [first, end); see :meth:`StageBatches.block`."""

    def block_steps(self, step: int, *, lanes: int) -> int:
        """Return how many steps make a block; see :meth:`StageBatches.block_steps`."""


def joined(parts: Sequence[StageBatches]) -> LaneBatches:
    """Return the batches of all lanes of some stages, in order."""
    return parts[0] if len(parts) == 1 else JoinedBatches(parts)


@final
class JoinedBatches:
    """Batches of several stages, each of a run of its own, whose steps are alike.

    Args:
        parts: Of one :attr:`~auditor.dynamics.minibatches.StageBatches.geometry`.

    Raises:
        InternalError: If they differ in it.
    """

    def __init__(self, parts: Sequence[StageBatches]) -> None:
        if len({part.geometry for part in parts}) > 1:
            raise InternalError(
                "group",
                expected="steps of the same sizes and shapes",
                found="others",
                remedy="Advance lanes that do not fit together one after the other.",
            )
        self._parts = tuple(parts)
        self._places = [(part, i) for part in parts for i in range(len(part.alpha))]
        self.alpha = np.concatenate([part.alpha for part in parts])
        """Gate of every lane and step, [L, steps]."""
        self.sizes = parts[0].sizes
        """Examples per lane and step, [steps]."""
        self.fraction = parts[0].fraction
        """b / B of every lane."""

    def shared(self, lanes: Sequence[int]) -> bool:
        """Say whether these lanes use the same examples with the same weights at every step."""
        (part, own), *others = self._by_part(lanes)
        return not others and part.shared(own)

    def block(self, first: int, end: int, *, lanes: Sequence[int]) -> BlockExamples:
        """Return the examples of steps [first, end), counted from each stage's first.

        Args:
            first: First step.
            end: One past the last step; all have the same size.
            lanes: Positions of the lanes wanted, ascending.
        """
        by_part = list(self._by_part(lanes))
        if len(by_part) == 1:
            part, own = by_part[0]
            return part.block(first, end, lanes=own)
        blocks = [part.block_of_lanes(first, end, lanes=own) for part, own in by_part]
        columns = zip(*(block.inputs for block in blocks), strict=True)
        return BlockExamples(
            inputs=tuple(map(_side_by_side, columns)),
            target=_side_by_side([block.target for block in blocks]),
            weights=_side_by_side([block.weights for block in blocks]),
            denominator=blocks[0].denominator,
        )

    def block_steps(self, step: int, *, lanes: int) -> int:
        """Return how many steps of one size make a block that fits the memory set aside."""
        return self._parts[0].block_steps(step, lanes=lanes)

    def _by_part(self, lanes: Sequence[int]) -> Iterator[tuple[StageBatches, list[int]]]:
        """Yield each part that has some of the lanes, and their positions in it."""
        for part in self._parts:
            own = [self._places[lane][1] for lane in lanes if self._places[lane][0] is part]
            if own:
                yield part, own


def _side_by_side(values: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(values), dim=1)
