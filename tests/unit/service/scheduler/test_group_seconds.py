"""How long groups take, learned from groups of other sizes."""

import pytest

from service.scheduler.group_seconds import GroupSeconds


def learned(*groups: tuple[int, float]) -> GroupSeconds:
    expected = GroupSeconds()
    for lanes, seconds in groups:
        expected.learn("advance", lanes=lanes, seconds=seconds)
    return expected


def test_nothing_is_known_of_a_kind_that_was_not_seen() -> None:
    assert learned((1, 2.0)).of("sweep", lanes=1) is None


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

    assert expected.of("advance", lanes=lanes) == pytest.approx(seconds)


def test_what_was_seen_lately_counts_most() -> None:
    expected = learned((4, 10.0), *[(4, 2.0)] * 30)

    assert expected.of("advance", lanes=4) == pytest.approx(2.0, rel=0.01)


def test_a_group_that_took_no_time_is_no_trouble() -> None:
    assert learned((1, 0.0), (64, 3.0)).of("advance", lanes=8) == 3.0
