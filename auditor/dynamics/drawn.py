"""Which of a stage's examples a sub-sampled lane uses, balanced where examples have categories."""

import numpy as np

from auditor.dynamics.draws import subsample
from auditor.dynamics.sampling import MAX_STRATA, Integers, balanced_positions, strata_of
from auditor.dynamics.stage_examples import StageExamples
from auditor.plan.sampling import Draw

SOURCE = "source"
"""The column that says where an example comes from; see the stage log."""


def drawn_positions(
    examples: StageExamples,
    *,
    target: str,
    fraction: float,
    key: tuple[int, str, int, int],
    draw: Draw = "balanced",
) -> tuple[np.ndarray, ...]:
    """Return the positions of each step's batch that are used.

    Balanced over the classes of ``target`` and over sources where there are such; uniform draws
    otherwise (regression, token targets).

    Args:
        examples: What the stage uses under an intervention.
        target: The loss's target column.
        fraction: b / B, below 1.
        key: Seed, log digest, number of the stage's first step and replica.
        draw: ``uniform`` balances nothing.
    """
    names = (target, SOURCE) if draw == "balanced" else ()
    columns = [codes for name in names if (codes := _codes(examples, name)) is not None]
    if columns:
        strata = strata_of(columns)
        return tuple(balanced_positions(strata, examples.offsets, fraction=fraction, key=key))
    seed, log_digest, first_step, replica = key
    sizes = np.diff(examples.offsets).tolist()
    return tuple(
        subsample(size, fraction=fraction, key=(seed, log_digest, first_step + step, replica))
        for step, size in enumerate(sizes)
    )


def _codes(examples: StageExamples, name: str) -> Integers | None:
    """Return a column's values as categories, [n], or None if it is no category in every table."""
    parts = []
    for table in examples.tables:
        values = table.columns.get(name)
        if values is None or values.dim() != 1:
            return None
        # Text is stored as codes of the table's own categories; those of another table are others.
        described = table.dataset.columns[name].categories
        stored = values.cpu().numpy()
        parts.append(stored if described is None else np.asarray(described)[stored])
    offsets = np.cumsum([0, *(len(part) for part in parts)])
    used = np.concatenate(parts)[offsets[examples.table] + examples.index]
    codes = np.unique(used, return_inverse=True)[1].astype(np.int64)
    distinct = int(codes.max(initial=0)) + 1
    return codes if distinct <= min(MAX_STRATA, max(2, len(codes) // 2)) else None
