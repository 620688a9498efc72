"""Stages that release a moving average are refused by name before anything is computed."""

import pytest

from auditor.audit.check import check_request
from auditor.errors import UnsupportedError
from auditor.estimators.aa_score import AaScoreSettings
from auditor.estimators.registry import KINDS
from auditor.plan.finer import TimelineRequest
from auditor.plan.request import Intervention
from auditor.stagelog.log import StageLog
from tests.support.manifests import make_log, make_request, make_sets, make_stage

AFTER, AVERAGED = (Intervention(kind="skip", stage=f"stage{stage}") for stage in (2, 1))


def averaged_log() -> StageLog:
    stages = [make_stage(index) for index in range(3)]
    stages[1] = stages[1].model_copy(update={"ema_decay": 0.99})
    return make_log(*stages)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.id)
def test_estimators_that_follow_no_average_refuse_it(kind) -> None:
    request = make_request(interventions=(AVERAGED,), estimator=kind.settings())

    if kind.averages:
        check_request(request, averaged_log(), make_sets())
    else:
        with pytest.raises(UnsupportedError, match=r"stage1.*ema_decay.*Use retrain"):
            check_request(request, averaged_log(), make_sets())


def test_an_average_before_what_is_intervened_on_does_not_matter_to_a_tangent() -> None:
    tangent = make_request(interventions=(AFTER,), estimator=AaScoreSettings())
    adjoint = make_request(interventions=(AFTER,), estimator=AaScoreSettings(form="adjoint"))

    check_request(tangent, averaged_log(), make_sets())
    with pytest.raises(UnsupportedError, match=r"stage1.*ema_decay"):
        check_request(adjoint, averaged_log(), make_sets())


def test_timelines_go_through_every_stage() -> None:
    request = make_request(interventions=(AFTER,), timelines=TimelineRequest(windows=4))

    with pytest.raises(UnsupportedError, match=r"stage1.*ema_decay"):
        check_request(request, averaged_log(), make_sets())
