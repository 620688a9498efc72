"""``drop``: a stage's examples without the selected ones."""

from collections.abc import Mapping, Sequence

import numpy as np

from auditor.dynamics.draws import generator_for
from auditor.dynamics.stage_examples import StageExamples
from auditor.dynamics.tables import Table, known_values, selected_rows
from auditor.errors import InputError
from auditor.plan.request import Intervention, Selection
from auditor.stagelog.log import Stage


def dropped_examples(
    recorded: StageExamples,
    stage: Stage,
    *,
    intervention: Intervention,
    steps: tuple[int, int],
    key: Sequence[int | str],
) -> StageExamples:
    """Return a stage without the selected examples: refilled, or with weight 0.

    Args:
        recorded: What the stage used.
        stage: The stage.
        intervention: A ``drop``.
        steps: Which steps are concerned, counted from the stage's first.
        key: What names the stage's draws.

    Raises:
        InputError: If none or all of the stage's examples are selected, or none is left to fill
            the batches.
    """
    if intervention.where is None:
        raise InputError(
            "intervention.where",
            expected="which examples to drop",
            found="none",
            remedy="Name columns and their values.",
        )
    chosen = _selected(recorded, intervention.where)  # one mask per table
    hit = np.zeros(len(recorded.index), dtype=bool)
    for number, mask in enumerate(chosen):
        own = recorded.table == number
        hit[own] = mask[recorded.index[own]]
    if not hit.any() or hit.all():
        raise InputError(
            "intervention.where",
            expected=f"some but not all of the examples that stage {stage.name!r} used",
            found="none" if not hit.any() else "all",
            remedy="Correct the values, or use skip to leave the stage out.",
        )
    first, end = (recorded.offsets[step] for step in steps)
    inside = np.zeros_like(hit)
    inside[first:end] = True
    hit &= inside
    index, weights = recorded.index, recorded.weights
    if intervention.divisor == "kept":
        weights = np.where(hit, 0.0, 1.0 if weights is None else weights)
    else:
        index = _resampled(recorded, hit=hit, chosen=chosen, first_step=stage.first_step, key=key)
    return StageExamples(
        tables=recorded.tables,
        table=recorded.table,
        index=index,
        weights=weights,
        offsets=recorded.offsets,
    )


def _selected(recorded: StageExamples, where: Selection) -> list[np.ndarray]:
    """Return which rows of each table are meant, [examples] bool each.

    Of a mixture, tables without the columns, or without the texts, keep all of their rows.
    """
    masks = [_selected_of(table, where.columns) for table in recorded.tables]
    if all(mask is None for mask in masks):
        return [selected_rows(table, where.columns) for table in recorded.tables]  # says why
    return [
        np.zeros(table.dataset.examples, dtype=bool) if mask is None else mask
        for table, mask in zip(recorded.tables, masks, strict=True)
    ]


def _selected_of(
    table: Table, columns: Mapping[str, Sequence[str | int | bool]]
) -> np.ndarray | None:
    """Return which rows of one table are meant; None where it can hold no such row."""
    known = {name: known_values(table, name, values=values) for name, values in columns.items()}
    return selected_rows(table, known) if all(known.values()) else None


def _resampled(
    recorded: StageExamples,
    *,
    hit: np.ndarray,
    chosen: Sequence[np.ndarray],
    first_step: int,
    key: Sequence[int | str],
) -> np.ndarray:
    """Return indices with dropped examples replaced by kept ones that the stage used.

    From the same dataset, and drawn for the step, not for the replica.
    """
    index = recorded.index.copy()
    pools = []
    for number, mask in enumerate(chosen):
        used = np.unique(recorded.index[recorded.table == number])
        pools.append(used[~mask[used]])
        if hit[recorded.table == number].any():
            require_some(
                pools[-1],
                where=f"intervention.where in {recorded.tables[number].name}",
                what="an example that is kept, to fill the batches",
            )
    for step in np.unique(np.searchsorted(recorded.offsets, np.flatnonzero(hit), side="right") - 1):
        begin, end = recorded.offsets[step], recorded.offsets[step + 1]
        uniform = generator_for("resample", *key, first_step + int(step)).random(end - begin)
        for position in np.flatnonzero(hit[begin:end]):
            pool = pools[recorded.table[begin + position]]
            index[begin + position] = pool[int(uniform[position] * len(pool))]
    return index


def require_some(rows: np.ndarray, *, where: str, what: str) -> None:
    """Refuse a selection that leaves nothing.

    Raises:
        InputError: If there are no rows.
    """
    if len(rows) == 0:
        raise InputError(
            where, expected=what, found="none", remedy="Correct the values, or keep the divisor."
        )
