"""What an intervention does to a stage's steps: gates, and other examples in the batches."""

from collections.abc import Mapping, Sequence

import numpy as np

from auditor.dynamics.draws import generator_for
from auditor.dynamics.run import Run
from auditor.dynamics.stage_examples import StageExamples, bound_columns, recorded_examples
from auditor.dynamics.tables import (
    Table,
    known_values,
    require_same_columns,
    selected_rows,
)
from auditor.errors import InputError, UnsupportedError
from auditor.plan.request import Intervention, Selection
from auditor.stagelog.log import Stage


def gates(stage: Stage, intervention: Intervention | None) -> np.ndarray:
    """Return alpha of every step of the stage, [steps]: 0 under skip, ``alpha`` under fade.

    Raises:
        InputError: If a fade has no alpha or the window lies outside the stage.
    """
    alpha = np.ones(stage.steps)
    if intervention is None or intervention.kind not in {"skip", "fade"}:
        return alpha
    if intervention.kind == "fade" and intervention.alpha is None:
        raise _missing("alpha", "a number from 0 to 1", "Say which part of the updates is left.")
    first, end = window(stage, intervention)
    faded = intervention.alpha if intervention.kind == "fade" else None
    alpha[first:end] = 0.0 if faded is None else faded
    return alpha


def window(stage: Stage, intervention: Intervention) -> tuple[int, int]:
    """Return the steps concerned, counted from the stage's first.

    Raises:
        InputError: If the window is empty or not inside the stage.
    """
    steps = intervention.steps
    if steps is None:
        return 0, stage.steps
    if not stage.first_step <= steps.first_step < steps.end_step <= stage.end_step:
        raise InputError(
            "intervention.steps",
            expected=f"steps within [{stage.first_step}, {stage.end_step})",
            found=f"[{steps.first_step}, {steps.end_step})",
            remedy="Use global step numbers of the intervention's stage.",
        )
    return steps.first_step - stage.first_step, steps.end_step - stage.first_step


def intervened_examples(
    run: Run, stage_index: int, *, intervention: Intervention | None, seed: int
) -> StageExamples:
    """Return what a stage uses under an intervention: the same steps, weights for dropped ones.

    Raises:
        InputError: If the intervention does not fit the log, naming what does not.
        UnsupportedError: If its kind is not treated by this version.
    """
    recorded = recorded_examples(run, stage_index)
    if intervention is None:
        return recorded
    key = ("examples", stage_index, intervention.model_dump_json(), seed)
    match intervention.kind:
        case "skip" | "fade":
            return recorded
        case "replace":
            return run.keep(
                key, lambda: _replaced(run, stage_index, intervention=intervention, seed=seed)
            )
        case "drop":
            return run.keep(
                key, lambda: _dropped(run, stage_index, intervention=intervention, seed=seed)
            )
        case "change":
            raise UnsupportedError(
                "intervention.kind",
                expected="skip, fade, replace or drop",
                found="change",
                remedy="Changed hyperparameters come with a later version; use fade for a first "
                "look at a smaller learning rate.",
            )


def _replaced(
    run: Run, stage_index: int, *, intervention: Intervention, seed: int
) -> StageExamples:
    """Return the stage on reference data, at equal steps and batch sizes."""
    stage, recorded = run.log.stages[stage_index], recorded_examples(run, stage_index)
    reference = intervention.reference
    if reference is None or (reference.dataset is None) == (reference.data is None):
        raise _missing("reference", "one of `dataset` and `data`", "Name the reference data.")
    if reference.dataset is not None and reference.dataset not in run.log.datasets:
        raise InputError(
            "intervention.reference.dataset",
            expected="one of " + ", ".join(sorted(run.log.datasets)),
            found=reference.dataset,
            remedy="Name a dataset of the log, or push an evaluation set and name its digest.",
        )
    if reference.dataset is not None:
        table = run.table(reference.dataset)
    else:
        table = run.evaluation_set(str(reference.data))
    for original in recorded.tables:
        require_same_columns(table, original, names=bound_columns(stage))
    rows = np.arange(table.dataset.examples)
    if reference.where is not None:
        rows = rows[selected_rows(table, reference.where.columns)]
        _require_some(rows, where="intervention.reference.where", what="an example to use")

    first, end = (recorded.offsets[step] for step in window(stage, intervention))
    index, of_table = recorded.index.copy(), recorded.table.copy()
    if reference.order == "recorded":
        index[first:end] = rows[recorded.index[first:end] % len(rows)]
    else:
        index[first:end] = _epochs(
            rows, first=int(first), end=int(end), key=(seed, run.log_digest, stage_index)
        )
    of_table[first:end] = len(recorded.tables)
    return StageExamples(
        tables=(*recorded.tables, table),
        table=of_table,
        index=index,
        weights=recorded.weights,
        offsets=recorded.offsets,
    )


def _epochs(rows: np.ndarray, *, first: int, end: int, key: tuple[int, str, int]) -> np.ndarray:
    """Return positions [first, end) of an endless sequence of shuffled epochs of ``rows``."""
    n = len(rows)
    epochs = range(first // n, -(-end // n))
    order = [rows[generator_for("replace", *key, epoch).permutation(n)] for epoch in epochs]
    start = first - epochs.start * n
    return np.concatenate(order)[start : start + end - first]


def _dropped(run: Run, stage_index: int, *, intervention: Intervention, seed: int) -> StageExamples:
    """Return the stage without the selected examples: refilled, or with weight 0."""
    stage, recorded = run.log.stages[stage_index], recorded_examples(run, stage_index)
    if intervention.where is None:
        raise _missing("where", "which examples to drop", "Name columns and their values.")
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
    first, end = (recorded.offsets[step] for step in window(stage, intervention))
    inside = np.zeros_like(hit)
    inside[first:end] = True
    hit &= inside
    index, weights = recorded.index, recorded.weights
    if intervention.divisor == "kept":
        weights = np.where(hit, 0.0, 1.0 if weights is None else weights)
    else:
        index = _resampled(run, stage_index, hit=hit, chosen=chosen, seed=seed)
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
    run: Run, stage_index: int, *, hit: np.ndarray, chosen: Sequence[np.ndarray], seed: int
) -> np.ndarray:
    """Return indices with dropped examples replaced by kept ones that the stage used.

    From the same dataset, and drawn for the step, not for the replica.
    """
    stage, recorded = run.log.stages[stage_index], recorded_examples(run, stage_index)
    index = recorded.index.copy()
    pools = []
    for number, mask in enumerate(chosen):
        used = np.unique(recorded.index[recorded.table == number])
        pools.append(used[~mask[used]])
        if hit[recorded.table == number].any():
            _require_some(
                pools[-1],
                where=f"intervention.where in {recorded.tables[number].name}",
                what="an example that is kept, to fill the batches",
            )
    for step in np.unique(np.searchsorted(recorded.offsets, np.flatnonzero(hit), side="right") - 1):
        begin, end = recorded.offsets[step], recorded.offsets[step + 1]
        key = (seed, run.log_digest, stage_index, stage.first_step + int(step))
        uniform = generator_for("resample", *key).random(end - begin)
        for position in np.flatnonzero(hit[begin:end]):
            pool = pools[recorded.table[begin + position]]
            index[begin + position] = pool[int(uniform[position] * len(pool))]
    return index


def _require_some(rows: np.ndarray, *, where: str, what: str) -> None:
    if len(rows) == 0:
        raise InputError(
            where, expected=what, found="none", remedy="Correct the values, or keep the divisor."
        )


def _missing(field: str, expected: str, remedy: str) -> InputError:
    return InputError(f"intervention.{field}", expected=expected, found="none", remedy=remedy)
