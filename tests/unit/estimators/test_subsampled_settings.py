"""Estimators that cannot answer on a log are refused before anything is computed."""

import pytest

from auditor.audit.check import check_request
from auditor.errors import InputError
from auditor.estimators.subsampled_replay import SubsampledReplaySettings
from auditor.plan.sampling import has_two_resolutions
from auditor.stagelog.log import Optimizer
from tests.support.manifests import make_log, make_request, make_sets, make_stage

BATCH = 8  # examples a step of make_log


@pytest.mark.parametrize(
    ("fraction", "two"), [(1 / 16, False), (1 / 8, False), (1 / 4, True), (1 / 2, True)]
)
def test_half_of_a_sub_sample_has_to_be_fewer_examples(fraction: float, two: bool) -> None:
    assert has_two_resolutions(fraction, make_log()) is two


def test_two_resolutions_that_are_one_are_refused() -> None:
    settings = SubsampledReplaySettings(fraction=1 / BATCH, replicas=1, resolutions=2)
    request = make_request(estimator=settings)

    with pytest.raises(InputError, match=r"estimator\.fraction.*Raise the fraction"):
        check_request(request, make_log(), make_sets())


def test_two_resolutions_that_differ_are_accepted() -> None:
    settings = SubsampledReplaySettings(fraction=2 / BATCH, replicas=1, resolutions=2)

    check_request(make_request(estimator=settings), make_log(), make_sets())


@pytest.mark.parametrize(("fraction", "two"), [(2 / BATCH, False), (4 / BATCH, True)])
def test_adam_needs_two_examples_at_the_lower_resolution(fraction: float, two: bool) -> None:
    stages = [make_stage(index) for index in range(3)]
    stages[1] = stages[1].model_copy(update={"optimizer": Optimizer(kind="adamw")})

    assert has_two_resolutions(fraction, make_log()) is True
    assert has_two_resolutions(fraction, make_log(*stages)) is two
