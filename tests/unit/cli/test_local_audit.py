"""What a local audit says about itself."""

from datetime import UTC, datetime

from service.cli.local_audit import timestamp


def test_timestamp_is_utc_to_the_millisecond() -> None:
    assert timestamp(datetime(2026, 3, 1, 12, tzinfo=UTC)) == "2026-03-01T12:00:00.000Z"
