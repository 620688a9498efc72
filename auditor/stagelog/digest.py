"""Canonical bytes (RFC 8785) and SHA-256 digests; the only place that canonicalises JSON."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, NewType

import rfc8785
from pydantic import BaseModel

from auditor.errors import InputError

Digest = NewType("Digest", str)
"""SHA-256 of some bytes as 64 lower-case hexadecimal characters."""

DIGEST_PATTERN = r"^[0-9a-f]{64}$"


def sha256(data: bytes | bytearray | memoryview) -> Digest:
    """Return the digest that names ``data``."""
    return Digest(hashlib.sha256(data).hexdigest())


def parse_digest(text: str, *, where: str) -> Digest:
    """Return ``text`` as a digest.

    Raises:
        InputError: If ``text`` is not 64 lower-case hexadecimal characters.
    """
    if re.fullmatch(DIGEST_PATTERN, text) is None:
        raise InputError(
            where,
            expected="a SHA-256 digest of 64 lower-case hexadecimal characters",
            found=text,
            remedy="Pass the digest printed by push or by `stageaudit log inspect`.",
        )
    return Digest(text)


def canonical_bytes(value: BaseModel | Mapping[str, Any]) -> bytes:
    """Return the RFC 8785 bytes of a record; fields that are None are left out.

    Raises:
        InputError: If a number is not finite or an integer exceeds 2^53.
    """
    if isinstance(value, BaseModel):
        plain = value.model_dump(mode="json", by_alias=True, exclude_none=True)
    else:
        plain = dict(value)
    try:
        return rfc8785.dumps(plain)
    except rfc8785.CanonicalizationError as error:
        raise InputError(
            "canonical JSON",
            expected="finite numbers and integers below 2^53",
            found=str(error),
            remedy="Leave missing figures out and write 64-bit counts as strings.",
        ) from error


def digest_of(value: BaseModel | Mapping[str, Any]) -> Digest:
    """Return the digest of the canonical bytes of a record."""
    return sha256(canonical_bytes(value))
