"""How long groups take, learned from groups of other sizes."""

import pytest

from auditor.stagelog.digest import sha256
from service.scheduler.group_seconds import MAX_KEYS, GroupSeconds

KEY, OTHER = sha256(b"key"), sha256(b"other")


def learned(*groups: tuple[int, float]) -> GroupSeconds:
    expected = GroupSeconds()
    for lanes, seconds in groups:
        expected.learn("advance", KEY, lanes=lanes, seconds=seconds)
    return expected


def test_nothing_is_known_of_a_kind_that_was_not_seen() -> None:
    assert learned((1, 2.0)).of("sweep", OTHER, lanes=1) is None


@pytest.mark.parametrize(
    ("lanes", "seconds"),
    [
        (4, 2.0),
        (64, 8.0),
        (16, 4.0),  # half way, in logarithms
        (1, 1.0),  # beyond what was seen: square root
        (256, 16.0),
    ],
)
def test_sizes_that_were_seen_say_what_others_take(lanes: int, seconds: float) -> None:
    expected = learned((4, 2.0), (64, 8.0))

    assert expected.of("advance", KEY, lanes=lanes) == pytest.approx(seconds)


def test_what_was_seen_lately_counts_most() -> None:
    expected = learned((4, 10.0), *[(4, 2.0)] * 30)

    assert expected.of("advance", KEY, lanes=4) == pytest.approx(2.0, rel=0.01)


def test_a_group_that_took_no_time_is_no_trouble() -> None:
    assert learned((1, 0.0), (64, 3.0)).of("advance", KEY, lanes=8) == 3.0


def test_a_key_that_was_seen_is_not_told_by_others_of_its_kind() -> None:
    expected = learned((4, 2.0))
    expected.learn("advance", OTHER, lanes=4, seconds=100.0)

    assert expected.of("advance", KEY, lanes=4) == pytest.approx(2.0)
    assert expected.of("advance", OTHER, lanes=4) == pytest.approx(100.0)
    assert 2.0 < (expected.of("advance", sha256(b"new"), lanes=4) or 0.0) < 100.0
    assert expected.measured(sha256(b"new"), lanes=4) is None


def test_only_so_many_keys_are_remembered_the_last_ones() -> None:
    expected = learned((1, 2.0))
    keys = [sha256(f"{number}".encode()) for number in range(MAX_KEYS)]
    for key in keys:
        expected.learn("advance", key, lanes=1, seconds=1.0)

    assert expected.measured(KEY, lanes=1) is None
    assert expected.measured(keys[0], lanes=1) == 1.0
