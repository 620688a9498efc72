"""A request becomes actions: complete, ordered, shared, deterministic."""

import pytest

from auditor.audit.planning import plan_round
from auditor.plan.actions import Advance, Evaluate, dependencies, key_of
from auditor.plan.settings import (
    AaScoreSettings,
    CheckpointDeltaSettings,
    CheckpointJumpSettings,
    CoarseReplaySettings,
    DefaultSettings,
    RetrainSettings,
    SettleSettings,
    SubsampledReplaySettings,
    TaskVectorSettings,
)
from tests.support.manifests import make_log, make_probe, make_query, make_request

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
    DefaultSettings(),
]


@pytest.mark.parametrize("settings", ALL_SETTINGS, ids=lambda s: s.id)
def test_plan_puts_dependencies_first_and_each_key_once(settings):
    request = make_request(estimator=settings, queries=(make_query(), make_probe()))

    planned = plan_round(request, make_log(), {})

    seen: set[str] = set()
    for spec in planned.actions:
        assert set(dependencies(spec)) <= seen
        assert key_of(spec) not in seen
        seen.add(key_of(spec))
    assert key_of(planned.actions[-1]) == planned.report


def test_plan_is_the_same_every_time():
    one = plan_round(make_request(), make_log(), {})
    other = plan_round(make_request(), make_log(), {})

    assert one == other


def test_default_is_the_replay_it_stands_for():
    explicit = make_request(estimator=SubsampledReplaySettings(fraction=0.5, replicas=8))

    one = plan_round(make_request(), make_log(), {}).actions[:-1]
    other = plan_round(explicit, make_log(), {}).actions[:-1]

    assert {key_of(spec) for spec in one} == {key_of(spec) for spec in other}


def test_a_second_query_adds_evaluations_only():
    one = plan_round(make_request(), make_log(), {}).actions[:-1]
    both = make_request(queries=(make_query(), make_query(name="acc", kind="accuracy")))

    added = [spec for spec in plan_round(both, make_log(), {}).actions[:-1] if spec not in one]

    assert added
    assert {type(spec) for spec in added} == {Evaluate}


def test_names_of_queries_do_not_change_keys():
    one = plan_round(make_request(), make_log(), {}).actions[:-1]
    renamed = make_request(queries=(make_query(name="held-out loss"),))

    assert plan_round(renamed, make_log(), {}).actions[:-1] == one


def test_skipping_all_subsets_runs_each_prefix_once():
    # Retraining after skipping stage t runs the later stages: 2 + 1 + 0 runs, 3 skipped stages.
    planned = plan_round(make_request(estimator=RetrainSettings(), baselines=()), make_log(), {})

    advances = [spec for spec in planned.actions if isinstance(spec, Advance)]

    assert sum(spec.intervention is None for spec in advances) == 3
    assert sum(spec.intervention is not None for spec in advances) == 3
