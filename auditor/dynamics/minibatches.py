"""Per-lane minibatches of a stage: rows, weights, denominators and gates for every step.

Interventions and sub-samples are one mechanism: a lane is a function from steps to (alpha, rows,
weights, denominator), all in one pool of examples, so that different lanes run in one ``vmap``.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import final

import numpy as np
import torch
from torch import Tensor

from auditor.dynamics.divisors import counted_examples, is_mean
from auditor.dynamics.drawn import drawn_positions
from auditor.dynamics.draws import subsample
from auditor.dynamics.interventions import gates, intervened_examples
from auditor.dynamics.progress import BLOCK_STEPS
from auditor.dynamics.run import Run
from auditor.dynamics.stage_examples import StageExamples, bound_columns
from auditor.dynamics.tables import Table
from auditor.errors import DomainError, InternalError, UnsupportedError
from auditor.plan.footprint import BLOCK_BYTES
from auditor.plan.request import Intervention
from auditor.plan.sampling import Draw, used_examples
from auditor.stagelog.log import Stage


@final
@dataclass(frozen=True, slots=True)
class Lane:
    """One trajectory of a group: what is changed in the stage and how gradients are sampled.

    Attributes:
        intervention: Acts on this stage; None for the recorded steps.
        fraction: b / B of each step's examples, in (0, 1]; 1 uses all and ignores the replica.
        seed: Drives sub-samples and drawn references.
        replica: Which sub-sample.
        order: Of the stage's examples; 0 is the recorded one.
        draw: How the sub-sample is drawn.
    """

    intervention: Intervention | None = None
    fraction: float = 1.0
    seed: int = 0
    replica: int = 0
    order: int = 0
    draw: Draw = "balanced"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class BlockExamples:
    """What n consecutive steps of equal size use; lane axes are left out when all lanes agree.

    Attributes:
        inputs: Graph inputs, each [n, (L,) b, *shape]; with recorded dropout last its keys.
        target: [n, (L,) b, ...].
        weights: [n, (L,) b].
        denominator: [n].
    """

    inputs: tuple[Tensor, ...]
    target: Tensor
    weights: Tensor
    denominator: Tensor

    def without_lanes(self) -> "BlockExamples":
        """Return the examples of the first lane, without lane axis."""
        return self._with(lambda values: values[:, 0])

    def repeated(self, lanes: int) -> "BlockExamples":
        """Return the examples of one lane as those of several."""
        return self._with(lambda values: values.expand(-1, lanes, *values.shape[2:]))

    def _with(self, change: Callable[[Tensor], Tensor]) -> "BlockExamples":
        return replace(
            self,
            inputs=tuple(map(change, self.inputs)),
            target=change(self.target),
            weights=change(self.weights),
        )


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Pooled:
    """Examples of several steps together, m for each lane.

    Attributes:
        inputs: Graph inputs, each [L, m, *shape]; with recorded dropout last its keys.
        target: [L, m, ...].
        weights: [L, m].
        step_examples: B, how many examples one of the steps has.
    """

    inputs: tuple[Tensor, ...]
    target: Tensor
    weights: Tensor
    step_examples: int


@final
class StageBatches:
    """The minibatches of one stage for lanes that use the same fraction.

    Args:
        run: The recorded run.
        stage_index: The stage.
        lanes: At least one; all of one fraction.

    Raises:
        InputError: If an intervention does not fit the log.
        UnsupportedError: If its kind, or a token mask, is not treated by this version.
    """

    def __init__(self, run: Run, stage_index: int, *, lanes: Sequence[Lane]) -> None:
        stage = run.log.stages[stage_index]
        _require_fits(stage, lanes=lanes)
        self._run, self._stage, self._lanes = run, stage, tuple(lanes)
        self._examples = tuple(
            counted_examples(
                run,
                stage_index,
                intervened_examples(
                    run,
                    stage_index,
                    intervention=lane.intervention,
                    seed=lane.seed,
                    order=lane.order,
                ),
            )
            for lane in lanes
        )
        self._pool = _Pool(run, stage, self._examples, inputs=run.computations(stage_index).inputs)
        self._like = run.boundary(stage_index).theta
        sizes = np.diff(self._examples[0].offsets)  # [steps]
        self.alpha = np.stack([gates(stage, lane.intervention) for lane in lanes])
        """Gate of every lane and step, [L, steps]."""
        self.fraction = fraction = lanes[0].fraction
        self.sizes = np.array([used_examples(n, fraction=fraction) for n in sizes.tolist()])
        """Examples per lane and step, [steps]."""
        self._full_sizes = sizes
        self._drawn: dict[Hashable, tuple[np.ndarray, ...]] = {}

    @property
    def geometry(self) -> Hashable:
        """What must agree for lanes of several runs to share steps: sizes, shapes and dtypes."""
        return (self._full_sizes.tobytes(), self.fraction, self._like.dtype, self._pool.geometry)

    def shared(self, lanes: Sequence[int]) -> bool:
        """Say whether these lanes use the same examples with the same weights at every step."""
        return len({self._identity(lane) for lane in lanes}) == 1

    def block(self, first: int, end: int, *, lanes: Sequence[int]) -> BlockExamples:
        """Return the examples of steps [first, end), counted from the stage's first.

        Args:
            first: First step.
            end: One past the last step; all have the same size.
            lanes: Positions of the lanes wanted.
        """
        if self.shared(lanes):
            return self._block(first, end, lanes=lanes[:1]).without_lanes()
        return self._block(first, end, lanes=lanes)

    def block_of_lanes(self, first: int, end: int, *, lanes: Sequence[int]) -> BlockExamples:
        """Return the same as :meth:`block`, always with a lane axis."""
        if self.shared(lanes):
            return self._block(first, end, lanes=lanes[:1]).repeated(len(lanes))
        return self._block(first, end, lanes=lanes)

    def _block(self, first: int, end: int, *, lanes: Sequence[int]) -> BlockExamples:
        rows, weights, keys = zip(*(self._rows(lane, first, end) for lane in lanes), strict=True)
        index = torch.from_numpy(np.stack(rows, axis=1)).to(self._like.device)  # [n, L, b]
        factor = self._weights(index, weights)
        scale = self.sizes[first:end] / self._full_sizes[first:end]
        whole = self._full_sizes[first:end] if is_mean(self._stage) else 1.0
        denominator = torch.from_numpy(scale * whole).to(self._like)  # [n]
        return BlockExamples(
            inputs=self._inputs(index, keys),
            target=self._pool.gather(self._stage.bindings.target, index),
            weights=factor,
            denominator=denominator,
        )

    def pooled(
        self, first: int, end: int, *, lanes: Sequence[int], drawn: Sequence[Lane]
    ) -> Pooled:
        """Return some examples of steps [first, end) together, as if they were one step's.

        Args:
            first: First step.
            end: One past the last step; all have the same size.
            lanes: Positions of the lanes wanted, which use all of their steps' examples.
            drawn: For each, which part of the examples is drawn, for which seed and replica.
        """
        step = self._stage.first_step + first
        rows, weights, keys = [], [], []
        for lane, own in zip(lanes, drawn, strict=True):
            of_lane, factor, places = self._rows(lane, first, end)
            key = (own.seed, self._run.log_digest, step, own.replica)
            kept = subsample(of_lane.size, fraction=own.fraction, key=key)
            rows.append(of_lane.reshape(-1)[kept])
            weights.append(None if factor is None else factor.reshape(1, -1)[:, kept])
            keys.append(None if places is None else places.reshape(-1)[kept])
        index = torch.from_numpy(np.stack(rows)).to(self._like.device)  # [L, m]
        return Pooled(
            inputs=self._inputs(index, keys),
            target=self._pool.gather(self._stage.bindings.target, index),
            weights=self._weights(index[None], weights)[0],
            step_examples=int(self.sizes[first]),
        )

    def block_steps(self, step: int, *, lanes: int) -> int:
        """Return how many steps of one size make a block whose examples fit ``BLOCK_BYTES``.

        Args:
            step: One of the steps, counted from the stage's first.
            lanes: How many lanes have examples of their own.
        """
        step_bytes = self._pool.example_bytes * int(self.sizes[step]) * lanes
        return max(1, min(BLOCK_STEPS, BLOCK_BYTES // max(1, step_bytes)))

    def _identity(self, lane: int) -> Hashable:
        own = self._lanes[lane]
        drawn = (own.seed, own.replica, own.draw) if own.fraction < 1 else ()
        return (id(self._examples[lane]), drawn)

    def _inputs(self, index: Tensor, keys: Sequence[np.ndarray | None]) -> tuple[Tensor, ...]:
        """Return the graph's inputs at pool rows, and the keys of the masks that belong to them."""
        inputs = tuple(self._pool.gather(name, index) for name in self._pool.inputs)
        held = [own for own in keys if own is not None]
        if not held:
            return inputs
        stacked = torch.from_numpy(np.stack(held, axis=-2)).to(index.device)
        return (*inputs, stacked.reshape(index.shape))

    def _rows(
        self, lane: int, first: int, end: int
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Return pool rows, weights and keys of one lane, [n, b] each."""
        own, examples = self._lanes[lane], self._examples[lane]
        begin, stop = int(examples.offsets[first]), int(examples.offsets[end])
        rows = self._pool.rows(examples, begin, stop)
        weights = None if examples.weights is None else examples.weights[begin:stop]
        keys = None if examples.keys is None else examples.keys[begin:stop]
        if own.fraction < 1:
            drawn = self._positions(lane)
            kept = np.concatenate([
                examples.offsets[step] - begin + drawn[step] for step in range(first, end)
            ])  # fmt: skip
            rows = rows[kept]
            weights = None if weights is None else weights[kept]
            keys = None if keys is None else keys[kept]
        shape = (end - first, -1)
        return (
            rows.reshape(shape),
            None if weights is None else weights.reshape(shape),
            None if keys is None else keys.reshape(shape),
        )

    def _positions(self, lane: int) -> tuple[np.ndarray, ...]:
        """Return which positions of each step's examples a lane uses."""
        identity = self._identity(lane)
        if identity not in self._drawn:
            own = self._lanes[lane]
            self._drawn[identity] = drawn_positions(
                self._examples[lane],
                target=self._stage.bindings.target,
                fraction=own.fraction,
                draw=own.draw,
                key=(own.seed, self._run.log_digest, self._stage.first_step, own.replica),
            )
        return self._drawn[identity]

    def _weights(self, index: Tensor, weights: Sequence[np.ndarray | None]) -> Tensor:
        """Return the factor of every example's loss, in the shape of ``index``."""
        if all(of_lane is None for of_lane in weights):
            factor = self._like.new_ones(()).expand(index.shape)
        else:
            ones = np.ones((index.shape[0], index.shape[-1]))
            stacked = np.stack([ones if w is None else w for w in weights], axis=1)
            factor = torch.from_numpy(stacked).to(self._like).reshape(index.shape)
        column = self._stage.bindings.weight
        return factor if column is None else factor * self._pool.gather(column, index)


@final
class _Pool:
    """The tables of all lanes one after the other, so that one index serves every lane."""

    def __init__(
        self, run: Run, stage: Stage, examples: Sequence[StageExamples], *, inputs: tuple[str, ...]
    ) -> None:
        tables = {table.name: table for own in examples for table in own.tables}
        sizes = [table.dataset.examples for table in tables.values()]
        self._first = dict(zip(tables, np.cumsum([0, *sizes]).tolist(), strict=False))
        self._columns = {
            name: run.keep(("pool", name, tuple(tables)), partial(_side_by_side, tables, name))
            for name in bound_columns(stage)
        }
        self.inputs = tuple(stage.bindings.inputs[name] for name in inputs)
        self.example_bytes = sum(
            self._columns[name][0].numel() * self._columns[name].element_size()
            for name in self.inputs
        )

    @property
    def geometry(self) -> Hashable:
        """Shape of an example and dtype of every column."""
        return tuple((n, v.shape[1:], v.dtype) for n, v in self._columns.items())

    def rows(self, examples: StageExamples, begin: int, end: int) -> np.ndarray:
        """Return pool rows of examples [begin, end)."""
        first = np.array([self._first[table.name] for table in examples.tables])
        rows: np.ndarray = first[examples.table[begin:end]] + examples.index[begin:end]
        return rows

    def gather(self, column: str, index: Tensor) -> Tensor:
        """Return a column's values at pool rows, [*index, *shape]."""
        values = self._columns[column]
        return values.index_select(0, index.reshape(-1)).reshape(*index.shape, *values.shape[1:])


def _side_by_side(tables: Mapping[str, Table], name: str) -> Tensor:
    columns = [table.columns[name] for table in tables.values()]
    return columns[0] if len(columns) == 1 else torch.cat(columns)


def require_lane(stage: Stage, lane: Lane) -> None:
    """Refuse a lane that is for another stage or uses an impossible fraction.

    Raises:
        InternalError: If its intervention acts on another stage.
        DomainError: If its fraction is not in (0, 1].
    """
    if lane.intervention is not None and lane.intervention.stage != stage.name:
        raise InternalError(
            "lane.intervention.stage",
            expected=stage.name,
            found=lane.intervention.stage,
            remedy="Pass the intervention to the stage it acts on.",
        )
    if not 0 < lane.fraction <= 1:
        raise DomainError(
            "lane.fraction",
            expected="a number above 0, at most 1",
            found=lane.fraction,
            remedy="Use 1 for every example.",
        )


def _require_fits(stage: Stage, *, lanes: Sequence[Lane]) -> None:
    """Refuse lanes that do not fit the stage or one another, and token masks."""
    for lane in lanes:
        require_lane(stage, lane)
        if lane.fraction != lanes[0].fraction:
            raise InternalError(
                "lane.fraction",
                expected="one fraction in a group",
                found=lane.fraction,
                remedy="Advance lanes of different fractions one after the other.",
            )
    if stage.bindings.mask is not None:
        raise UnsupportedError(
            f"stages[{stage.name}].bindings.mask",
            expected="no token mask",
            found=stage.bindings.mask,
            remedy="Use estimators that need boundary checkpoints only, such as task_vector.",
        )
