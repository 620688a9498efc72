"""Batch norm in train mode needs whole batches: part of one is another model, not a noisier one.

Measured on `resnet_digits` (benchmarks/RESULTS.md): replays on 2 to 8 of 32 examples a step missed
by 5 to 14 times the effect in the median, and called effects of the wrong sign.
"""

from auditor.errors import UnsupportedError
from auditor.stagelog.log import StageLog


def needs_whole_batches(log: StageLog) -> bool:
    """Say whether some stage normalised each batch by its own statistics."""
    return _stage_of_batches(log) is not None


def require_whole_batches(log: StageLog, *, where: str, found: float | None, remedy: str) -> None:
    """Refuse parts of batches where a stage normalised each batch by its own statistics.

    Args:
        log: The log.
        where: The setting that would take part of every batch.
        found: Its value.
        remedy: What to ask for instead.

    Raises:
        UnsupportedError: If there is such a stage, naming it.
    """
    stage = _stage_of_batches(log)
    if stage is not None:
        raise UnsupportedError(
            where,
            expected=f"whole batches: stage {stage} normalises each batch by its own statistics, "
            "so that a part of it is another model",
            found=found,
            remedy=remedy,
        )


def _stage_of_batches(log: StageLog) -> str | None:
    names = (s.name for s in log.stages if log.graphs[s.graph].batch_norm == "batch")
    return next(names, None)
