"""What a local audit signs."""

from datetime import UTC, datetime

from auditor.stagelog.digest import sha256
from service.cli.local_audit import subjects_of, timestamp
from tests.support.reports import LOG_BYTES, MODEL_BYTES, make_report


def test_subjects_are_the_files_people_hold() -> None:
    subjects = subjects_of(make_report(), "model.safetensors")

    assert [(s.name, s.digest) for s in subjects] == [
        ("stagelog.json", sha256(LOG_BYTES)),
        ("model.safetensors", sha256(MODEL_BYTES)),
    ]


def test_timestamp_is_utc_to_the_millisecond() -> None:
    assert timestamp(datetime(2026, 3, 1, 12, tzinfo=UTC)) == "2026-03-01T12:00:00.000Z"
