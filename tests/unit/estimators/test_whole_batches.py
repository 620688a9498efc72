"""Logs with batch norm in train mode: parts of batches are refused, by every estimator."""

import pytest
from typing_extensions import override

from auditor.audit.check import check_request
from auditor.audit.choose import choose
from auditor.errors import UnsupportedError
from auditor.estimators.auto import Auto, AutoSettings
from auditor.estimators.base import Finished, Floats
from auditor.estimators.checkpoint_jump import CheckpointJumpSettings
from auditor.estimators.coarse_replay import CoarseReplaySettings
from auditor.estimators.noise import noise_for
from auditor.estimators.registry import KINDS
from auditor.estimators.retrain import Retrain
from auditor.estimators.settle import SettleSettings
from auditor.estimators.subsampled_replay import SubsampledReplaySettings
from auditor.plan.actions import ActionSpec, Evaluate, Project, Sweep
from auditor.plan.settings import EstimatorSettings
from auditor.stagelog.log import StageLog
from tests.support.manifests import make_log, make_request, make_sets

PARTS = [
    ("fraction", SubsampledReplaySettings()),
    ("fraction", SubsampledReplaySettings(fraction=0.5, replicas=1, resolutions=2)),
    ("fraction", SettleSettings()),
    ("fraction", CheckpointJumpSettings(fraction=0.5)),
    ("step_fraction", CheckpointJumpSettings(step_fraction=0.5)),
    ("block_steps", CoarseReplaySettings(fraction=1.0)),
    ("fraction", CoarseReplaySettings(block_steps=1)),
    ("budget", AutoSettings(budget=0.9)),
]
WHOLE = [
    SubsampledReplaySettings(fraction=1.0),
    SettleSettings(fraction=1.0),
    CheckpointJumpSettings(),
    CoarseReplaySettings(block_steps=1, fraction=1.0),
    AutoSettings(),
    AutoSettings(budget=1.0),
]


def log_with(batch_norm: str) -> StageLog:
    log = make_log()
    graph = log.graphs["model"].model_copy(update={"batch_norm": batch_norm})
    return log.model_copy(update={"graphs": {"model": graph}})


@pytest.mark.parametrize(("name", "settings"), PARTS)
def test_parts_of_batches_are_refused(name: str, settings: EstimatorSettings) -> None:
    request = make_request(estimator=settings)

    check_request(request, log_with("running"), make_sets())
    with pytest.raises(UnsupportedError, match=rf"estimator\.{name}\b.*whole batches"):
        check_request(request, log_with("batch"), make_sets())


@pytest.mark.parametrize("settings", WHOLE)
def test_whole_batches_are_accepted(settings: EstimatorSettings) -> None:
    check_request(make_request(estimator=settings), log_with("batch"), make_sets())


def test_every_estimator_with_a_part_of_batches_refuses_it() -> None:
    names = {kind.id for kind in KINDS if "fraction" in kind.settings.model_fields}

    assert names == {settings.id for _, settings in PARTS} - {"auto"}


class NothingFinished(Finished):
    """Results of an audit that has not begun."""

    @override
    def has(self, spec: ActionSpec) -> bool:
        return False

    @override
    def per_example(self, spec: Evaluate | Project) -> Floats:
        raise KeyError(spec)

    @override
    def per_step(self, spec: Sweep) -> Floats:
        raise KeyError(spec)


def test_auto_has_no_rung_below_retraining() -> None:
    request = make_request(estimator=AutoSettings())

    chosen = choose(request, log_with("batch"), NothingFinished())

    assert isinstance(chosen.estimator, Auto)
    assert [type(rung) for rung in chosen.estimator.rungs] == [Retrain]


@pytest.mark.parametrize("batch_norm", ["batch", "running"])
def test_noise_is_measured_on_whole_batches(batch_norm: str) -> None:
    noise = noise_for("order", AutoSettings(), log_with(batch_norm))

    assert (noise.fraction == 1.0) is (batch_norm == "batch")
