"""The token file: one line for each bearer token, ``TOKEN [TENANT [WEIGHT]]``.

The first line is made at the first start and is the tenant ``default``. Lines that an operator adds
let further tenants in; WEIGHT says how much of the devices a tenant is given where several wait, 1
by default. Empty lines and lines that begin with ``#`` say nothing.
"""

import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from auditor.errors import InputError
from service.names import TENANT_PATTERN
from service.records.base import DEFAULT_TENANT
from service.scheduler.fair_share import DEFAULT_WEIGHT

_PREFIX = "sa_"
_SHORTEST = 16
_DEFAULTS = (DEFAULT_TENANT, str(DEFAULT_WEIGHT))


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenEntry:
    """Whoever sends ``token`` is of ``tenant``."""

    token: str
    tenant: str = DEFAULT_TENANT
    weight: float = DEFAULT_WEIGHT


def load_or_create_tokens(path: Path) -> tuple[TokenEntry, ...]:
    """Return the entries of a token file, made on the first start, readable by its owner only.

    Raises:
        InputError: If a line is not as described, or gives a tenant two weights.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return parse_tokens(path.read_text(), where=path.name)
    token = _PREFIX + secrets.token_urlsafe(32)
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
    return (TokenEntry(token=token),)


def parse_tokens(text: str, *, where: str) -> tuple[TokenEntry, ...]:
    """Return the entries of a token file's text.

    Raises:
        InputError: As :func:`load_or_create_tokens`; no message repeats a token.
    """
    lines = enumerate(text.splitlines(), start=1)
    entries = tuple(
        _entry(line.split(), where=f"{where}:{number}")
        for number, line in lines
        if line.strip() and not line.lstrip().startswith("#")
    )
    if not entries:
        raise _refused(where, expected="at least one token", found="none")
    if len({entry.token for entry in entries}) < len(entries):
        raise _refused(where, expected="every token once", found="one that is repeated")
    weights_of(entries, where=where)
    return entries


def weights_of(entries: Iterable[TokenEntry], *, where: str = "token") -> dict[str, float]:
    """Return the weight of every tenant.

    Raises:
        InputError: If a tenant has two.
    """
    weights: dict[str, float] = {}
    for entry in entries:
        if weights.setdefault(entry.tenant, entry.weight) != entry.weight:
            raise _refused(
                where,
                expected=f"one weight for tenant {entry.tenant}",
                found=f"{weights[entry.tenant]:g} and {entry.weight:g}",
            )
    return weights


def _entry(words: list[str], *, where: str) -> TokenEntry:
    token, tenant, weight, *more = [*words, *_DEFAULTS[len(words) - 1 :]]
    if more:
        raise _refused(where, expected="TOKEN [TENANT [WEIGHT]]", found=f"{len(words)} words")
    if len(token) < _SHORTEST:
        raise _refused(
            where, expected=f"a token of at least {_SHORTEST} characters", found=len(token)
        )
    if not re.fullmatch(TENANT_PATTERN, tenant):
        raise _refused(
            where, expected="a tenant of lower-case letters, digits and dashes", found=tenant
        )
    return TokenEntry(token=token, tenant=tenant, weight=_weight(weight, where=where))


def _weight(text: str, *, where: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not (isfinite(weight) and weight > 0):
        raise _refused(where, expected="a weight above 0", found=text)
    return weight


def _refused(where: str, *, expected: str, found: object) -> InputError:
    return InputError(where, expected=expected, found=found, remedy="Correct the token file.")
