import json

import pytest

from auditor.errors import AuditorError, InternalError, NumericalError, StageLogError
from service.failures import (
    Failure,
    PoisonError,
    WorkerLostError,
    error_of,
    failure_from,
    failure_of,
)


@pytest.mark.parametrize("kind", [NumericalError, StageLogError, PoisonError, WorkerLostError])
def test_errors_come_back_as_what_they_were(kind: type[AuditorError]) -> None:
    error = kind("steps[3]", expected="finite", found="inf", remedy="Lower lr.")

    stored = failure_of(error).to_json()
    again = error_of(failure_from(json.loads(stored)))

    assert type(again) is kind
    assert str(again) == str(error)


def test_a_code_that_is_not_known_is_an_internal_error() -> None:
    failure = Failure(code="FROM_THE_FUTURE", where="w", expected="e", found="f", remedy="r")

    assert type(error_of(failure)) is InternalError
