"""The estimators that are judged: one line each, by the name that the tables use."""

from typing import Final

from auditor.plan.settings import (
    AaScoreSettings,
    CheckpointDeltaSettings,
    EstimatorSettings,
    RetrainSettings,
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
    "subsampled_replay_1/2x8": SubsampledReplaySettings(fraction=0.5, replicas=8),
    "subsampled_replay_1/4x4": SubsampledReplaySettings(fraction=0.25, replicas=4),
    "subsampled_replay_1/8x4": SubsampledReplaySettings(fraction=0.125, replicas=4),
}
"""``retrain`` first: its rows show that the harness and the library mean the same."""
