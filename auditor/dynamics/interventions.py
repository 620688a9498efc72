"""What an intervention does to a stage's steps: gates, and other examples in the batches."""

from collections.abc import Sequence

import numpy as np

from auditor.dynamics.draws import generator_for
from auditor.dynamics.dropped import dropped_examples
from auditor.dynamics.orders import ordered_examples
from auditor.dynamics.run import Run
from auditor.dynamics.stage_examples import StageExamples, bound_columns
from auditor.dynamics.tables import require_same_columns, selected_rows
from auditor.errors import InputError
from auditor.plan.request import Intervention
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
    run: Run, stage_index: int, *, intervention: Intervention | None, seed: int, order: int = 0
) -> StageExamples:
    """Return what a stage uses under an intervention: the same steps, weights for dropped ones.

    In another ``order`` than the recorded one (0) the intervention acts as if that order had been
    recorded, and what it draws is drawn anew.

    Raises:
        InputError: If the intervention does not fit the log, naming what does not.
    """
    recorded = ordered_examples(run, stage_index, seed=seed, order=order)
    if intervention is None:
        return recorded
    stage = run.log.stages[stage_index]
    key = ("examples", stage_index, intervention.model_dump_json(), seed, order)
    draw = (seed, run.log_digest, stage_index, *(("order", order) if order else ()))
    match intervention.kind:
        case "skip" | "fade" | "change":
            return recorded
        case "replace":
            return run.keep(
                key,
                lambda: _replaced(run, stage_index, recorded, intervention=intervention, key=draw),
            )
        case "drop":
            return run.keep(
                key,
                lambda: dropped_examples(
                    recorded,
                    stage,
                    intervention=intervention,
                    steps=window(stage, intervention),
                    key=draw,
                ),
            )


def _replaced(
    run: Run,
    stage_index: int,
    recorded: StageExamples,
    *,
    intervention: Intervention,
    key: Sequence[int | str],
) -> StageExamples:
    """Return the stage on reference data, at equal steps and batch sizes."""
    stage = run.log.stages[stage_index]
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
        if len(rows) == 0:
            raise _missing(
                "reference.where", "a selection of some examples to use", "Correct the values."
            )

    first, end = (recorded.offsets[step] for step in window(stage, intervention))
    index, of_table = recorded.index.copy(), recorded.table.copy()
    if reference.order == "recorded":
        index[first:end] = rows[recorded.index[first:end] % len(rows)]
    else:
        index[first:end] = _epochs(rows, first=int(first), end=int(end), key=key)
    of_table[first:end] = len(recorded.tables)
    return StageExamples(
        tables=(*recorded.tables, table),
        table=of_table,
        index=index,
        weights=recorded.weights,
        offsets=recorded.offsets,
        microbatch=recorded.microbatch,
        keys=recorded.keys,
    )


def _epochs(rows: np.ndarray, *, first: int, end: int, key: Sequence[int | str]) -> np.ndarray:
    """Return positions [first, end) of an endless sequence of shuffled epochs of ``rows``."""
    n = len(rows)
    epochs = range(first // n, -(-end // n))
    order = [rows[generator_for("replace", *key, epoch).permutation(n)] for epoch in epochs]
    start = first - epochs.start * n
    return np.concatenate(order)[start : start + end - first]


def _missing(field: str, expected: str, remedy: str) -> InputError:
    return InputError(f"intervention.{field}", expected=expected, found="none", remedy=remedy)
