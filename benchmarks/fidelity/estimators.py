"""The estimators that are judged, by the name that the tables use."""

from typing import Final

from auditor.estimators.aa_score import AaScoreSettings
from auditor.estimators.auto import AutoSettings
from auditor.estimators.checkpoint_jump import CheckpointJumpSettings
from auditor.estimators.registry import KINDS
from auditor.estimators.retrain import RETRAIN
from auditor.estimators.subsampled_replay import SubsampledReplaySettings
from auditor.plan.settings import EstimatorSettings

ESTIMATORS: Final[dict[str, EstimatorSettings]] = {
    RETRAIN.id: RETRAIN.settings(),
    **{kind.id: kind.settings() for kind in KINDS},
    "aa_score_adjoint": AaScoreSettings(form="adjoint"),
    "aa_score_no_curvature": AaScoreSettings(curvature="none"),
    "checkpoint_jump_ggn_1/4": CheckpointJumpSettings(
        curvature="ggn", step_fraction=0.25, replicas=1
    ),
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
    "subsampled_replay_1/4x4": SubsampledReplaySettings(fraction=0.25, replicas=4),
    "subsampled_replay_1/8x4": SubsampledReplaySettings(fraction=0.125, replicas=4),
}
"""All with their defaults, then variants of them.

``retrain`` is first: its rows show that the harness and the library mean the same.
"""
