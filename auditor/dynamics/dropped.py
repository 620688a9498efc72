"""``drop``: a stage's examples without the selected ones."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

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
        InputError: If none or all of the stage's examples are selected.
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
    _require_some_left(hit, stage, where=intervention.where)
    first, end = (recorded.offsets[step] for step in steps)
    inside = np.zeros_like(hit)
    inside[first:end] = True
    hit &= inside
    if intervention.divisor == "kept":
        weights = np.where(hit, 0.0, 1.0 if recorded.weights is None else recorded.weights)
        return replace(recorded, weights=weights)
    table, index = _resampled(
        recorded, hit=hit, chosen=chosen, first_step=stage.first_step, key=key
    )
    return replace(recorded, table=table, index=index)


def _require_some_left(hit: np.ndarray, stage: Stage, *, where: Selection) -> None:
    selected = " and ".join(where.parts)
    if hit.all():
        raise InputError(
            "intervention.where",
            expected=f"a selection that leaves stage {stage.name!r} some of its examples",
            found=f"{selected}, which all {len(hit)} of them have",
            remedy="Ask what the stage did with `skip`, or what other data would have done with "
            "`replace`: nothing is left to fill its batches.",
        )
    if not hit.any():
        raise InputError(
            "intervention.where",
            expected=f"a selection that stage {stage.name!r} used",
            found=f"{selected}, which none of its {len(hit)} examples has",
            remedy="Correct the values, or leave the stage out of the request.",
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
) -> tuple[np.ndarray, np.ndarray]:
    """Return tables and indices with dropped examples replaced by kept ones that the stage used.

    From the same dataset, or from all of the stage's where that one keeps none; drawn for the
    step, not for the replica.
    """
    table, index = recorded.table.copy(), recorded.index.copy()
    pools = []  # (table, index) of what each dataset keeps, [n, 2]
    for number, mask in enumerate(chosen):
        used = np.unique(recorded.index[recorded.table == number])
        kept = used[~mask[used]]
        pools.append(np.stack([np.full(len(kept), number), kept], axis=1))
    everything = np.concatenate(pools)
    for step in np.unique(np.searchsorted(recorded.offsets, np.flatnonzero(hit), side="right") - 1):
        begin, end = recorded.offsets[step], recorded.offsets[step + 1]
        uniform = generator_for("resample", *key, first_step + int(step)).random(end - begin)
        for position in np.flatnonzero(hit[begin:end]):
            own = pools[recorded.table[begin + position]]
            pool = own if len(own) else everything
            drawn = pool[int(uniform[position] * len(pool))]
            table[begin + position], index[begin + position] = drawn
    return table, index
