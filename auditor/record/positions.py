"""The examples of a step as its loop declares them: positions in a dataset, and weights."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from auditor.errors import StageLogError
from auditor.stagelog.batches import BatchRow

Indices = Tensor | np.ndarray | Sequence[int]
Weights = Tensor | np.ndarray | Sequence[float]


def declared_row(
    dataset: str, indices: Indices, weights: Weights | None, *, examples: int, where: str
) -> BatchRow:
    """Return a row of copies that the caller cannot change any more.

    Args:
        dataset: Name of the dataset.
        indices: Positions, [n].
        weights: Factors, [n], or None.
        examples: Size of the dataset.
        where: The step, for messages.

    Raises:
        StageLogError: If positions or weights do not fit the dataset.
    """
    positions = _array(indices)
    factors = None if weights is None else _array(weights).astype(np.float64)
    kept = positions.astype(np.int64) if positions.dtype.kind in "iu" else np.empty(0, np.int64)
    # As unsigned numbers negative ones are the largest: one pass finds both kinds.
    if kept.ndim != 1 or len(kept) == 0 or kept.view(np.uint64).max() >= examples:
        raise StageLogError(
            where,
            expected=f"positions [n] from 0 to {examples - 1} in {dataset!r}",
            found=f"{positions.dtype} {positions.shape}"
            + (f" up to {positions.max()}" if positions.size else ""),
            remedy="Pass the indices that the sampler drew.",
        )
    if factors is not None and (factors.shape != positions.shape or not np.isfinite(factors).all()):
        raise StageLogError(
            where,
            expected=f"{len(positions)} finite weights",
            found=f"shape {factors.shape}",
            remedy="Pass one weight per index.",
        )
    return BatchRow(dataset=dataset, indices=kept, weights=factors)


def _array(values: Indices | Weights) -> np.ndarray:
    return values.numpy(force=True) if isinstance(values, Tensor) else np.asarray(values)
