"""The machine's clock gives aware times and never goes back."""

from datetime import UTC

from auditor.edge.clock import SystemClock


def test_now_is_in_utc() -> None:
    assert SystemClock().now().tzinfo is UTC


def test_monotonic_does_not_go_back() -> None:
    clock = SystemClock()

    first = clock.monotonic()

    assert clock.monotonic() >= first
