import re
from datetime import UTC, datetime, timedelta

from service.ulid import new_ulid

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_ulids_are_spelled_as_the_specification_says() -> None:
    assert re.fullmatch("[0-7][0-9A-HJKMNP-TV-Z]{25}", new_ulid(NOW))


def test_ulids_begin_with_their_time() -> None:
    # 2016-07-30T23:54:10.259Z is the specification's own example.
    example = datetime(2016, 7, 30, 23, 54, 10, 259_000, tzinfo=UTC)

    assert new_ulid(example).startswith("01ARZ3NDEK")


def test_ulids_sort_by_time_and_never_repeat() -> None:
    later = [new_ulid(NOW + timedelta(milliseconds=n)) for n in range(5)]

    assert later == sorted(later)
    assert new_ulid(NOW) != new_ulid(NOW)
