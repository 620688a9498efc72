"""The estimators that are judged: one line each, by the name that the tables use."""

from typing import Final

from auditor.plan.settings import (
    AaScoreSettings,
    AutoSettings,
    CheckpointDeltaSettings,
    CheckpointJumpSettings,
    EstimatorSettings,
    RetrainSettings,
    SettleSettings,
    SubsampledReplaySettings,
    TaskVectorSettings,
)

ESTIMATORS: Final[dict[str, EstimatorSettings]] = {
    "retrain": RetrainSettings(),
    "checkpoint_delta": CheckpointDeltaSettings(),
    "task_vector": TaskVectorSettings(),
    "aa_score_tangent": AaScoreSettings(),
    "aa_score_adjoint": AaScoreSettings(form="adjoint"),
    "aa_score_no_curvature": AaScoreSettings(curvature="none"),
    "checkpoint_jump_ggn_1/4": CheckpointJumpSettings(
        curvature="ggn", step_fraction=0.25, replicas=1
    ),
    "settle_1/2 of 1/8x4": SettleSettings(tail=0.5, fraction=0.125, replicas=4),
    "auto": AutoSettings(),
    "auto_tolerance_0.2": AutoSettings(tolerance=0.2),
    "auto_budget_0.15": AutoSettings(budget=0.15),
    "auto_budget_0.4": AutoSettings(budget=0.4),
    "subsampled_replay_1/16x1, two resolutions": SubsampledReplaySettings(
        fraction=1 / 16, replicas=1, resolutions=2
    ),
    "subsampled_replay_1/8x1, two resolutions": SubsampledReplaySettings(
        fraction=1 / 8, replicas=1, resolutions=2
    ),
    "subsampled_replay_1/4x1, two resolutions": SubsampledReplaySettings(
        fraction=1 / 4, replicas=1, resolutions=2
    ),
    "subsampled_replay_1/2x8": SubsampledReplaySettings(fraction=0.5, replicas=8),
    "subsampled_replay_1/4x4": SubsampledReplaySettings(fraction=0.25, replicas=4),
    "subsampled_replay_1/8x4": SubsampledReplaySettings(fraction=0.125, replicas=4),
}
"""``retrain`` first: its rows show that the harness and the library mean the same."""
