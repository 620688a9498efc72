"""The examples that a stage used, as flat arrays."""

from dataclasses import dataclass
from typing import final

import numpy as np

from auditor.dynamics.run import Run
from auditor.dynamics.tables import Table
from auditor.model.keyed_dropout import slot_keys
from auditor.stagelog.log import Stage


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class StageExamples:
    """The recorded batches of a stage as flat arrays; step k holds [offsets[k], offsets[k + 1]).

    Attributes:
        tables: The stage's datasets, then the reference of a ``replace``.
        table: Which of ``tables`` each example is from, [n].
        index: Row of that table, [n].
        weights: Factor of each example's loss, [n], or None for 1.
        offsets: [steps + 1].
        microbatch: Which microbatch of its step each example is in, [n]; None where each step has
            one.
        keys: Of the dropout masks of each place, [n] int64; None without recorded dropout. They
            belong to the places, whatever examples an intervention puts there.
    """

    tables: tuple[Table, ...]
    table: np.ndarray
    index: np.ndarray
    weights: np.ndarray | None
    offsets: np.ndarray
    microbatch: np.ndarray | None = None
    keys: np.ndarray | None = None


def recorded_examples(run: Run, stage_index: int) -> StageExamples:
    """Return what a stage used, as recorded."""

    def make() -> StageExamples:
        batches, stage = run.batches(stage_index), run.log.stages[stage_index]
        rows = [batches.rows(step) for step in range(stage.first_step, stage.end_step)]
        flat = [row for of_step in rows for row in of_step]
        names = list(dict.fromkeys(row.dataset for row in flat))
        sizes = [sum(len(row.indices) for row in of_step) for of_step in rows]
        weighted = any(row.weights is not None for row in flat)
        return StageExamples(
            tables=tuple(run.table(name) for name in names),
            table=np.repeat(
                [names.index(row.dataset) for row in flat], [len(row.indices) for row in flat]
            ),
            index=np.concatenate([row.indices for row in flat]).astype(np.int64),
            weights=np.concatenate([
                np.ones(len(row.indices)) if row.weights is None else row.weights for row in flat
            ]) if weighted else None,
            offsets=np.concatenate([[0], np.cumsum(sizes)]),
            microbatch=np.repeat(
                [row.microbatch for row in flat], [len(row.indices) for row in flat]
            ) if stage.accumulation > 1 else None,
            keys=_place_keys(stage, sizes),
        )  # fmt: skip

    return run.keep(("recorded examples", stage_index), make)


def _place_keys(stage: Stage, sizes: list[int]) -> np.ndarray | None:
    seed = stage.stochastic.seed
    if not stage.masked or seed is None:
        return None
    return np.concatenate([
        slot_keys(seed, step=step, count=size) for step, size in enumerate(sizes)
    ])  # fmt: skip


def bound_columns(stage: Stage) -> tuple[str, ...]:
    """Return the columns that a stage's graph and loss read."""
    bindings = stage.bindings
    names = [*bindings.inputs.values(), bindings.target]
    return tuple(dict.fromkeys(names + ([bindings.weight] if bindings.weight else [])))
