"""The examples of a stage in another order: what a run with other batches would have used.

Order 0 is the recorded one. Any other is a permutation of the stage's examples drawn for (seed,
log, stage, order), the same whatever is intervened on, so that a factual and a counterfactual run
share it.
"""

from dataclasses import replace

import numpy as np

from auditor.dynamics.draws import generator_for
from auditor.dynamics.run import Run
from auditor.dynamics.stage_examples import StageExamples, recorded_examples


def ordered_examples(run: Run, stage_index: int, *, seed: int, order: int) -> StageExamples:
    """Return what a stage used, in another order.

    The sizes of its steps are kept, and so is how many examples of a step come from which dataset.
    The examples of each dataset are permuted inside its :func:`passes`, each with its weight.

    Args:
        run: The recorded run.
        stage_index: The stage.
        seed: Drives the draw.
        order: 0 for the recorded order.
    """
    recorded = recorded_examples(run, stage_index)
    if order == 0:
        return recorded
    return run.keep(
        ("ordered examples", stage_index, seed, order),
        lambda: _permuted(recorded, key=(seed, run.log_digest, stage_index, order)),
    )


def _permuted(recorded: StageExamples, *, key: tuple[int, str, int, int]) -> StageExamples:
    positions = np.arange(len(recorded.index))
    step = np.repeat(np.arange(len(recorded.offsets) - 1), np.diff(recorded.offsets))
    for number in range(len(recorded.tables)):
        own = np.flatnonzero(recorded.table == number)
        for count, (first, end) in enumerate(passes(recorded.index[own], step[own])):
            generator = generator_for("order", *key, number, count)
            positions[own[first:end]] = own[first:end][generator.permutation(end - first)]
    return replace(
        recorded,
        index=recorded.index[positions],
        weights=None if recorded.weights is None else recorded.weights[positions],
    )


def passes(index: np.ndarray, step: np.ndarray) -> list[tuple[int, int]]:
    """Return where each pass over the data begins and ends; one range where there are no passes.

    Passes are epochs in which every example occurs once, whether or not they end with a step, or
    epochs of whole steps that leave a remainder out (``drop_last``). Anything else, such as
    sampling with replacement, is one range.

    Args:
        index: Rows of one dataset in the order they were used, [n].
        step: The step that used each, [n], ascending.

    Returns:
        Ranges ``[first, end)`` that together cover [0, n).
    """
    n = len(index)
    if n == 0:
        return []
    previous = _previous(index)
    exact = _cut(previous, np.arange(n))
    if _same_examples(index, exact):
        return exact
    of_steps = _cut(previous, np.searchsorted(step, step))
    sizes = {end - first for first, end in of_steps[:-1]}
    if len(sizes) == 1 and of_steps[-1][1] - of_steps[-1][0] <= max(sizes):
        return of_steps
    return [(0, n)]


def _previous(index: np.ndarray) -> np.ndarray:
    """Return the position of each row's occurrence before this one, -1 for the first, [n]."""
    by_row = np.argsort(index, kind="stable")
    previous = np.full(len(index), -1)
    repeated = np.flatnonzero(np.diff(index[by_row]) == 0)
    previous[by_row[repeated + 1]] = by_row[repeated]
    return previous


def _cut(previous: np.ndarray, begins: np.ndarray) -> list[tuple[int, int]]:
    """Cut before the first repetition; empty when a pass cannot begin where it would have to."""
    starts = [0]
    for before, begin in zip(previous.tolist(), begins.tolist(), strict=True):
        if before >= starts[-1]:
            if before >= begin:  # repeated within one step
                return [(0, 0)]
            starts.append(begin)
    return list(zip(starts, [*starts[1:], len(previous)], strict=True))


def _same_examples(index: np.ndarray, ranges: list[tuple[int, int]]) -> bool:
    """Say whether all ranges hold the same rows; the last may hold some of them."""
    whole = np.sort(index[slice(*ranges[0])])
    equal = all(np.array_equal(np.sort(index[slice(*own)]), whole) for own in ranges[1:-1])
    return equal and bool(np.isin(index[slice(*ranges[-1])], whole).all())
