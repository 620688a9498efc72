import pytest

from service.scheduler.arrivals import Arrivals


def test_an_audit_is_expected_until_the_last_one_is_stored() -> None:
    told: list[bool] = []
    arrivals = Arrivals()
    arrivals.on_last(lambda: told.append(arrivals.expected))

    with arrivals.arriving():
        with arrivals.arriving():
            pass
        between = arrivals.expected, list(told)

    assert between == (True, [])
    assert told == [False]


def test_an_audit_that_is_refused_is_not_expected_any_more() -> None:
    arrivals = Arrivals()

    with pytest.raises(ZeroDivisionError), arrivals.arriving():
        raise ZeroDivisionError

    assert not arrivals.expected
