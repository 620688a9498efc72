"""How examples of a step are drawn, and how many: what planning and execution agree on."""

from typing import Literal

from auditor.stagelog.log import Stage, StageLog

CORRECTED = ("adam", "adamw")
"""Optimizers whose second moment has to be rid of the noise of sub-samples."""

Draw = Literal["balanced", "uniform"]
"""Balanced over classes and sources, or uniform: as different from the batch as fresh ones."""


def used_examples(size: int, *, fraction: float) -> int:
    """Return b = max(1, round(fraction * B)): how many of a step's examples are used."""
    return max(1, round(fraction * size))


def has_two_resolutions(fraction: float, log: StageLog) -> bool:
    """Say whether half of a sub-sample is fewer examples, and enough of them, in every stage.

    Else the difference between both resolutions says nothing of the error: they are one, or Adam's
    second moment is rid of the noise of sub-samples in one of them only, which takes two examples.
    """
    return all(_differ(stage, fraction=fraction) for stage in log.stages)


def _differ(stage: Stage, *, fraction: float) -> bool:
    size = stage.examples_per_step or 1
    coarse = used_examples(size, fraction=fraction / 2)
    least = 2 if stage.optimizer.kind in CORRECTED else 1
    return used_examples(size, fraction=fraction) > coarse >= least
