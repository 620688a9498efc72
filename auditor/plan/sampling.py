"""How examples of a step are drawn, and how many: what planning and execution agree on."""

from typing import Literal

from auditor.stagelog.log import StageLog

Draw = Literal["balanced", "uniform"]
"""Balanced over classes and sources, or uniform: as different from the batch as fresh ones."""


def used_examples(size: int, *, fraction: float) -> int:
    """Return b = max(1, round(fraction * B)): how many of a step's examples are used."""
    return max(1, round(fraction * size))


def has_two_resolutions(fraction: float, log: StageLog) -> bool:
    """Say whether half of a sub-sample is fewer examples, in every stage.

    Else both resolutions are one and the difference between them says nothing of the error.
    """
    sizes = [stage.examples_per_step or 1 for stage in log.stages]
    return all(
        used_examples(size, fraction=fraction) > used_examples(size, fraction=fraction / 2)
        for size in sizes
    )
