"""A request becomes actions: complete, ordered, shared, deterministic."""

import pytest

from auditor.audit.planning import Round, plan_round
from auditor.estimators.aa_score import AaScoreSettings
from auditor.estimators.auto import AutoSettings
from auditor.estimators.checkpoint_delta import CheckpointDeltaSettings
from auditor.estimators.checkpoint_jump import CheckpointJumpSettings
from auditor.estimators.coarse_replay import CoarseReplaySettings
from auditor.estimators.retrain import RetrainSettings
from auditor.estimators.settle import SettleSettings
from auditor.estimators.subsampled_replay import SubsampledReplaySettings
from auditor.estimators.task_vector import TaskVectorSettings
from auditor.plan.actions import Advance, Evaluate, dependencies, key_of
from auditor.plan.request import AuditRequest
from auditor.plan.settings import RECOMMENDED
from tests.support.manifests import make_log, make_probe, make_query, make_request
from tests.support.memory_blobs import MemoryBlobs


def plan(request: AuditRequest) -> Round:
    return plan_round(request, make_log(), {}, blobs=MemoryBlobs())


ALL_SETTINGS = [
    RetrainSettings(),
    CheckpointDeltaSettings(),
    TaskVectorSettings(),
    AaScoreSettings(),
    AaScoreSettings(form="adjoint", curvature="none"),
    AaScoreSettings(curvature="ggn"),
    AaScoreSettings(form="adjoint", curvature="ekfac", curvature_examples=64),
    SubsampledReplaySettings(replicas=3),
    SettleSettings(replicas=2),
    CoarseReplaySettings(replicas=2),
    CheckpointJumpSettings(),
    CheckpointJumpSettings(curvature="source"),
    CheckpointJumpSettings(curvature="ggn", step_fraction=0.25, replicas=2),
]


@pytest.mark.parametrize("settings", ALL_SETTINGS, ids=lambda s: s.id)
def test_plan_puts_dependencies_first_and_each_key_once(settings):
    request = make_request(estimator=settings, queries=(make_query(), make_probe()))

    planned = plan(request)

    seen: set[str] = set()
    for spec in planned.actions:
        assert set(dependencies(spec)) <= seen
        assert key_of(spec) not in seen
        seen.add(key_of(spec))
    assert key_of(planned.actions[-1]) == planned.report


def test_plan_is_the_same_every_time():
    one = plan(make_request())
    other = plan(make_request())

    assert one == other


def test_default_is_auto():
    one = plan(make_request(estimator=RECOMMENDED))
    other = plan(make_request(estimator=AutoSettings()))

    assert [key_of(spec) for spec in one.actions] == [key_of(spec) for spec in other.actions]


def test_auto_asks_for_its_first_rung_and_no_report_yet():
    planned = plan(make_request(estimator=AutoSettings()))

    fractions = {spec.fraction for spec in planned.actions if isinstance(spec, Advance)}
    # Of 8 examples a step, 1/16 and 1/8 are one, and so is half of them: no rung.
    assert fractions <= {1.0, 1 / 4, 1 / 8}
    assert 1 / 4 in fractions
    assert planned.report not in {key_of(spec) for spec in planned.actions}


def test_a_second_query_adds_evaluations_only():
    one = plan(make_request()).actions[:-1]
    both = make_request(queries=(make_query(), make_query(name="acc", kind="accuracy")))

    added = [spec for spec in plan(both).actions[:-1] if spec not in one]

    assert added
    assert {type(spec) for spec in added} == {Evaluate}


def test_names_of_queries_do_not_change_keys():
    one = plan(make_request()).actions[:-1]
    renamed = make_request(queries=(make_query(name="held-out loss"),))

    assert plan(renamed).actions[:-1] == one


def test_skipping_all_subsets_runs_each_prefix_once():
    # Retraining after skipping stage t runs the later stages: 2 + 1 + 0 runs, 3 skipped stages.
    planned = plan(make_request(estimator=RetrainSettings(), baselines=()))

    advances = [spec for spec in planned.actions if isinstance(spec, Advance)]

    assert sum(spec.intervention is None for spec in advances) == 3
    assert sum(spec.intervention is not None for spec in advances) == 3
