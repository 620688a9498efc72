"""Sums over the last minute."""

import pytest

from service.scheduler.last_minute import CELLS, LastMinute


def test_a_span_counts_as_long_as_it_is() -> None:
    minute = LastMinute()

    minute.add_span("cpu", start=3.25, end=7.5)
    minute.add_span("cpu", start=8.0, end=8.5, share=0.5)
    minute.add_span("gpu", start=8.0, end=8.0)

    assert minute.totals(10.0) == pytest.approx({"cpu": 4.5})


@pytest.mark.parametrize("length", [0.1, 1.0, 59.0, 61.5, 500.0])
def test_no_more_than_the_window_is_counted(length: float) -> None:
    minute = LastMinute()
    now = 1000.4

    minute.add_span("cpu", start=now - length, end=now)

    window = now - LastMinute.begin(now)
    assert CELLS - 1 <= window <= CELLS
    assert minute.totals(now)["cpu"] == pytest.approx(min(length, window))


def test_what_is_older_than_a_minute_is_forgotten() -> None:
    minute = LastMinute()
    minute.add("groups", 1, at=0.0)
    minute.add("groups", 2, at=30.0)

    assert [minute.totals(now).get("groups") for now in (59.9, 60.0, 89.9, 90.0)] == [3, 2, 2, None]


def test_memory_does_not_grow_with_time() -> None:
    minute = LastMinute()

    for second in range(10 * CELLS):
        minute.add("groups", 1, at=float(second))

    assert minute.totals(10.0 * CELLS - 1) == {"groups": CELLS}
    assert len(vars(minute)["_cells"]) == CELLS
