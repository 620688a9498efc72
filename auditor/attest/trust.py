"""``stageaudit.trust.v1``: the keys a reader trusts, when, and for what."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, Field, ValidationError, model_validator

from auditor.attest.authorities import DAY_SECONDS, TimestampAuthority, certificate_pem
from auditor.attest.keys import KeyId, keyid_of, normalise_public_pem
from auditor.errors import AuditorError, ConflictError, InputError
from auditor.report.review import ReviewRole
from auditor.stagelog.record import DigestField, Name, Record
from auditor.stagelog.strict_json import first_problem

TRUST_SCHEMA: Final = "stageaudit.trust.v1"
TRUST_LIMIT_BYTES = 2**20


class KeyStatus(StrEnum):
    """Whether a key's signatures count."""

    ACTIVE = "active"
    RETIRED = "retired"  # signs no more; what it signed within its validity still counts
    REVOKED = "revoked"  # nothing it signed counts but what is proven older than `revoked_at`


class TrustedKey(Record):
    """One key of a trust file.

    ``signing_time``: whether the signer's word is enough for when something was signed, or only a
    time-stamp token. ``person`` and ``roles`` bind the key: a review by anybody else, or in another
    role, does not count.
    """

    keyid: DigestField
    public: Annotated[str, Field(max_length=8192)]  # SubjectPublicKeyInfo in PEM
    name: Name
    not_before: AwareDatetime | None = None
    not_after: AwareDatetime | None = None
    status: Annotated[KeyStatus, Field(strict=False)] = KeyStatus.ACTIVE
    revoked_at: AwareDatetime | None = None
    signing_time: Literal["claimed", "proven"] = "claimed"
    person: Name | None = None
    roles: tuple[ReviewRole, ...] = ()  # none: any

    @model_validator(mode="after")
    def _consistent(self) -> "TrustedKey":
        try:
            actual = keyid_of(self.public)
        except AuditorError as error:
            raise ValueError(str(error)) from error
        if actual != self.keyid:
            raise ValueError("keyid is not the SHA-256 of the public key")
        if self.not_before and self.not_after and self.not_before >= self.not_after:
            raise ValueError("not_before must lie before not_after")
        if self.status is KeyStatus.RETIRED and self.not_after is None:
            raise ValueError("status retired needs not_after: until when its signatures count")
        if self.revoked_at and self.status is not KeyStatus.REVOKED:
            raise ValueError("revoked_at needs status revoked")
        return self

    def covers(self, moment: datetime) -> bool:
        """Say whether ``moment`` lies in the half-open validity [not_before, not_after)."""
        after_start = self.not_before is None or moment >= self.not_before
        return after_start and (self.not_after is None or moment < self.not_after)


class TrustFile(Record):
    """The keys and the time-stamping authorities a reader trusts."""

    schema_: Annotated[Literal["stageaudit.trust.v1"], Field(alias="schema")] = TRUST_SCHEMA
    keys: Annotated[tuple[TrustedKey, ...], Field(max_length=1000)] = ()
    timestamp_authorities: Annotated[tuple[TimestampAuthority, ...], Field(max_length=100)] = ()

    @model_validator(mode="after")
    def _unique(self) -> "TrustFile":
        keyids = [key.keyid for key in self.keys]
        if len(set(keyids)) != len(keyids):
            raise ValueError("two entries have one keyid")
        names = [authority.name for authority in self.timestamp_authorities]
        if len(set(names)) != len(names):
            raise ValueError("two authorities have one name")
        return self

    def find(self, keyid: str) -> TrustedKey | None:
        """Return the entry of a key, or None when the key is not trusted."""
        return next((key for key in self.keys if key.keyid == keyid), None)

    def with_key(self, key: TrustedKey) -> "TrustFile":
        """Return a trust file with one more key.

        Raises:
            ConflictError: If the key is in it already.
        """
        present = self.find(key.keyid)
        if present is not None:
            raise ConflictError(
                f"trust.keys[{key.keyid[:16]}]",
                expected="a key that is not listed yet",
                found=f"an entry named {present.name}, {present.status}",
                remedy="Edit the entry in the trust file if its name or validity should change.",
            )
        return self.model_copy(update={"keys": (*self.keys, key)})

    def with_authority(self, authority: TimestampAuthority) -> "TrustFile":
        """Return a trust file with one more time-stamping authority.

        Raises:
            ConflictError: If one of this name is in it already.
        """
        present = self.timestamp_authorities
        if authority.name in {other.name for other in present}:
            raise ConflictError(
                f"trust.timestamp_authorities[{authority.name}]",
                expected="a name that is not listed yet",
                found="an entry of this name",
                remedy="Choose another name, or edit the entry in the trust file.",
            )
        return self.model_copy(update={"timestamp_authorities": (*present, authority)})


def trust_key(
    public_pem: str,
    *,
    name: str,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    person: str | None = None,
    roles: Sequence[ReviewRole] = (),
) -> TrustedKey:
    """Return the entry for a public key.

    Raises:
        InputError: If the text is no public key, or name and validity are not acceptable.
        UnsupportedError: If it is neither Ed25519 nor P-256.
    """
    public = normalise_public_pem(public_pem)
    try:
        return TrustedKey(
            keyid=keyid_of(public),
            public=public,
            name=name,
            not_before=not_before,
            not_after=not_after,
            person=person,
            roles=tuple(roles),
        )
    except ValidationError as error:
        raise _problem(error, where="trust entry") from error


def trust_authority(
    certificates: str,
    *,
    name: str,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    max_delay_seconds: int = DAY_SECONDS,
    url: str | None = None,
) -> TimestampAuthority:
    """Return the entry for a time-stamping authority.

    Args:
        certificates: PEM: its root, and what lies below it.
        name: What it is called when a token verifies.
        not_before: Earlier tokens do not count.
        not_after: Tokens of then or later do not count.
        max_delay_seconds: How much later than a document's own date a token may be.
        url: Where tokens are asked for.

    Raises:
        InputError: If there is no root certificate, or name and validity are not acceptable.
    """
    try:
        return TimestampAuthority(
            name=name,
            certificates=certificate_pem(certificates, where="certificates"),
            not_before=not_before,
            not_after=not_after,
            max_delay_seconds=max_delay_seconds,
            url=url,
        )
    except ValidationError as error:
        raise _problem(error, where="trust entry") from error


def parse_trust(data: bytes, *, where: str = "trust file") -> TrustFile:
    """Return a trust file from its JSON, which people may format and edit.

    Raises:
        InputError: If it is too large, no JSON, has duplicate members, or has unknown or
            contradictory entries.
    """
    if len(data) > TRUST_LIMIT_BYTES:
        raise InputError(
            where,
            expected=f"at most {TRUST_LIMIT_BYTES} bytes",
            found=f"{len(data)} bytes",
            remedy="Keep only the keys you trust.",
        )
    try:
        json.loads(data, object_pairs_hook=_refuse_duplicates)
        return TrustFile.model_validate_json(data)
    except ValidationError as error:
        raise _problem(error, where=where) from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            where,
            expected="JSON without duplicate members",
            found=str(error),
            remedy="Write it with `stageaudit keys trust`, or correct it by hand.",
        ) from error


def format_trust(trust: TrustFile) -> bytes:
    """Return the file's text, indented for people."""
    plain = trust.model_dump(mode="json", by_alias=True, exclude_none=True)
    return (json.dumps(plain, indent=2, ensure_ascii=False) + "\n").encode()


def parse_time(text: str, *, where: str) -> datetime:
    """Return an ISO 8601 time with its zone, in UTC.

    Raises:
        InputError: If it is no such time or names no zone.
    """
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):  # the latter at the ends of the calendar
        pass
    raise InputError(
        where,
        expected="an ISO 8601 time with a zone, such as 2026-01-31T12:00:00Z",
        found=text,
        remedy="Write the time with its zone.",
    )


def time_text(moment: datetime, *, timespec: str = "seconds") -> str:
    """Return a time as it is signed: ISO 8601 in UTC, with Z; :func:`parse_time` reads it.

    Args:
        moment: With a zone.
        timespec: To what it is told, as ``datetime.isoformat`` has it.
    """
    return moment.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def _refuse_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("an object has two members of one name")
    return dict(pairs)


def _problem(error: ValidationError, *, where: str) -> InputError:
    field, problem = first_problem(error, where=where)
    return InputError(
        field,
        expected="an entry as trust.schema.json describes it",
        found=problem,
        remedy="Add keys with `stageaudit keys trust PUB.pem --name NAME`, time-stamping "
        "authorities with `stageaudit keys trust-tsa`.",
    )


__all__ = [
    "TRUST_SCHEMA", "KeyId", "KeyStatus", "TimestampAuthority", "TrustFile", "TrustedKey",
    "format_trust", "parse_time", "parse_trust", "time_text", "trust_authority", "trust_key",
]  # fmt: skip
