"""The reader's own list of keys."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from auditor.attest.keys import generate_key
from auditor.attest.trust import (
    TRUST_LIMIT_BYTES,
    KeyStatus,
    TrustFile,
    format_trust,
    parse_time,
    parse_trust,
    trust_key,
)
from auditor.errors import ConflictError, InputError

PAIR = generate_key()
ENTRY: dict[str, Any] = {
    "keyid": PAIR.keyid,
    "public": PAIR.public_pem,
    "name": "signer",
    "not_before": "2026-01-01T00:00:00Z",
    "not_after": "2027-01-01T00:00:00+01:00",
    "status": "active",
}


def trust_bytes(*entries: dict[str, Any], **members: Any) -> bytes:
    return json.dumps({"schema": "stageaudit.trust.v1", "keys": entries} | members).encode()


def without(member: str) -> dict[str, Any]:
    return {name: value for name, value in ENTRY.items() if name != member}


REFUSED = {
    "empty": b"",
    "no_json": b"keys:",
    "array": b"[]",
    "duplicate_member": b'{"schema":"stageaudit.trust.v1","keys":[],"keys":[]}',
    "other_schema": trust_bytes(schema="stageaudit.trust.v2"),
    "unknown_member": trust_bytes(comment="x"),
    "same_key_twice": trust_bytes(ENTRY, ENTRY),
    "no_name": trust_bytes(without("name")),
    "no_keyid": trust_bytes(without("keyid")),
    "other_keyid": trust_bytes(ENTRY | {"keyid": "0" * 64}),
    "no_public_key": trust_bytes(ENTRY | {"public": "x"}),
    "retired_for_ever": trust_bytes(without("not_after") | {"status": "retired"}),
    "unknown_status": trust_bytes(ENTRY | {"status": "Revoked"}),
    "time_without_zone": trust_bytes(ENTRY | {"not_before": "2026-01-01T00:00:00"}),
    "validity_backwards": trust_bytes(ENTRY | {"not_after": "2025-01-01T00:00:00Z"}),
    "too_large": b" " * (TRUST_LIMIT_BYTES + 1),
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_parse_trust_refuses(data: bytes) -> None:
    with pytest.raises(InputError, match=r"^trust file"):
        parse_trust(data)


def test_parse_trust_reads_times_with_zones() -> None:
    key = parse_trust(trust_bytes(ENTRY)).keys[0]

    assert key.not_before == datetime(2026, 1, 1, tzinfo=UTC)
    assert key.not_after == datetime(2026, 12, 31, 23, tzinfo=UTC)
    assert key.status is KeyStatus.ACTIVE


def test_format_trust_is_read_back() -> None:
    trust = TrustFile(
        keys=(
            trust_key(PAIR.public_pem, name="Prüfstelle", not_before=datetime.now(UTC)),
            trust_key(generate_key().public_pem, name="other"),
        )
    )

    assert parse_trust(format_trust(trust)) == trust


@pytest.mark.parametrize(
    ("moment", "covered"),
    [
        (datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC), False),
        (datetime(2026, 1, 1, tzinfo=UTC), True),
        (datetime(2026, 12, 31, 22, 59, 59, tzinfo=UTC), True),
        (datetime(2026, 12, 31, 23, tzinfo=UTC), False),
        (datetime(2026, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=1))), False),
    ],
)
def test_validity_is_half_open(moment: datetime, covered: bool) -> None:
    assert parse_trust(trust_bytes(ENTRY)).keys[0].covers(moment) is covered


def test_validity_without_bounds_is_forever() -> None:
    key = trust_key(PAIR.public_pem, name="signer")

    assert key.covers(datetime.min.replace(tzinfo=UTC))
    assert key.covers(datetime.max.replace(tzinfo=UTC))


def test_with_key_refuses_a_listed_key() -> None:
    key = trust_key(PAIR.public_pem, name="signer")
    trust = TrustFile().with_key(key)

    with pytest.raises(ConflictError, match="an entry named signer, active"):
        trust.with_key(key.model_copy(update={"name": "other"}))


def test_find_returns_none_for_a_stranger() -> None:
    assert TrustFile().find(PAIR.keyid) is None


def test_trust_key_refuses_a_name_with_control_characters() -> None:
    with pytest.raises(InputError, match=r"trust entry\.name"):
        trust_key(PAIR.public_pem, name="a\x1b[2Jb")


@pytest.mark.parametrize("text", ["", "yesterday", "2026-01-01", "2026-01-01T00:00:00"])
def test_parse_time_refuses_times_without_zone(text: str) -> None:
    with pytest.raises(InputError, match="an ISO 8601 time with a zone"):
        parse_time(text, where="--not-before")


def test_parse_time_returns_utc() -> None:
    assert parse_time("2026-01-01T01:00:00+01:00", where="x") == datetime(2026, 1, 1, tzinfo=UTC)
