"""Can the estimator answer these interventions on this log? What it cannot is refused by name."""

from collections.abc import Sequence

from auditor.errors import InputError, UnsupportedError
from auditor.plan.request import Intervention, Joint
from auditor.plan.sampling import has_two_resolutions
from auditor.plan.settings import (
    CheckpointJumpSettings,
    CoarseReplaySettings,
    EstimatorSettings,
    SettleSettings,
    SubsampledReplaySettings,
)
from auditor.stagelog.log import StageLog


def check_estimator(
    settings: EstimatorSettings, log: StageLog, interventions: Sequence[Intervention | Joint]
) -> None:
    """Refuse what a displacement or a block of steps cannot stand for.

    Args:
        settings: Resolved settings.
        log: The log.
        interventions: All that are asked.

    Raises:
        InputError: If two resolutions would be one.
        UnsupportedError: Naming what is not treated and what to use instead.
    """
    if isinstance(settings, SettleSettings | CheckpointJumpSettings):
        _refuse_joint(settings.id, interventions)
    if isinstance(settings, CheckpointJumpSettings) and settings.curvature == "source":
        _require_sgd(log)
    if isinstance(settings, CoarseReplaySettings) and settings.block_steps > 1:
        _refuse_batch_statistics(log)
    if isinstance(settings, SubsampledReplaySettings) and settings.resolutions == 2:
        _require_two_resolutions(settings.fraction, log)


def _refuse_joint(identifier: str, interventions: Sequence[Intervention | Joint]) -> None:
    for index, intervention in enumerate(interventions):
        if isinstance(intervention, Joint):
            raise UnsupportedError(
                f"interventions[{index}]",
                expected=f"interventions on one stage each for {identifier}, whose later stages "
                "are as recorded",
                found=intervention.label,
                remedy="Use subsampled_replay or retrain for joint interventions.",
            )


def _require_two_resolutions(fraction: float, log: StageLog) -> None:
    if fraction < 1 and not has_two_resolutions(fraction, log):
        raise InputError(
            "estimator.fraction",
            expected="a fraction of which half is fewer examples, in every stage",
            found=f"{fraction:g} of "
            + ", ".join(str(stage.examples_per_step or 1) for stage in log.stages)
            + " examples a step",
            remedy="Raise the fraction, or set resolutions to 1 and replicas to 2 or more.",
        )


def _require_sgd(log: StageLog) -> None:
    for index, stage in enumerate(log.stages[1:], start=1):
        if stage.optimizer.kind != "sgd":
            raise UnsupportedError(
                f"stages[{index}].optimizer.kind",
                expected="sgd in every later stage for curvature source: its steps follow a "
                "gradient flow",
                found=stage.optimizer.kind,
                remedy="Use curvature exact, ggn or ekfac.",
            )


def _refuse_batch_statistics(log: StageLog) -> None:
    for index, stage in enumerate(log.stages):
        if log.graphs[stage.graph].batch_norm == "batch":
            raise UnsupportedError(
                f"stages[{index}].graph",
                expected="no batch normalisation by batch statistics, whose running means would "
                "move once a block instead of every step",
                found=stage.graph,
                remedy="Use subsampled_replay, or coarse_replay with block_steps 1.",
            )
