"""Who calls: the bearer token of the data folder, and the tenant it stands for.

This version serves one tenant on loopback. Whoever can read the token file, mode 0600, may do
everything. Names of another tenant are answered as if they did not exist.
"""

import hmac
import os
import secrets
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import final

from auditor.errors import ArtifactMissingError, AuthenticationError, InternalError
from service.records.base import DEFAULT_TENANT

_SCHEME = "Bearer "
_PREFIX = "sa_"

PUBLIC_METHODS = ("/grpc.health.v1.Health/",)
"""Methods that probes call without credentials."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Whose request is being served."""

    tenant: str
    principal: str
    request_id: str


_CALLER: ContextVar[Caller] = ContextVar("caller")


def set_caller(caller: Caller) -> None:
    """Note who calls, for the rest of this request."""
    _CALLER.set(caller)


def caller() -> Caller:
    """Return whose request is being served.

    Raises:
        InternalError: If no interceptor has said so.
    """
    try:
        return _CALLER.get()
    except LookupError as error:
        raise InternalError(
            "caller",
            expected="an identity",
            found="none",
            remedy="Serve this method behind the identity interceptor.",
        ) from error


def require_tenant(tenant: str, *, name: str) -> str:
    """Return the tenant of a name if it is the caller's own.

    Raises:
        ArtifactMissingError: If it is another's, whether or not that exists.
    """
    if tenant != caller().tenant:
        raise ArtifactMissingError(
            name,
            expected="a resource of your tenant",
            found="none",
            remedy="Check the tenant in the name.",
        )
    return tenant


@final
class TokenAuthority:
    """Knows the one token of an embedded service.

    Args:
        token: The secret.
    """

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def authenticate(
        self, metadata: Iterable[tuple[str, str | bytes]], *, request_id: str
    ) -> Caller:
        """Return who sent this metadata.

        Raises:
            AuthenticationError: If the token is missing or another one.
        """
        given = [value for key, value in metadata if key == "authorization"]
        if not given:
            raise _refused("none")
        text = given[0].decode(errors="replace") if isinstance(given[0], bytes) else given[0]
        if not text.startswith(_SCHEME):
            raise _refused("another scheme")
        # Constant time: how long this takes must not tell how much of the token is right.
        if not hmac.compare_digest(text.removeprefix(_SCHEME).encode(), self._token):
            raise _refused("another token")
        return Caller(tenant=DEFAULT_TENANT, principal="token", request_id=request_id)


def load_or_create_token(path: Path) -> str:
    """Return the token of a data folder, made on the first start, readable by its owner only."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    token = _PREFIX + secrets.token_urlsafe(32)
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
    return token


def _refused(found: str) -> AuthenticationError:
    return AuthenticationError(
        "authorization",
        expected="`Bearer` and the token of the data folder",
        found=found,
        remedy="Send the content of the file `token` in the service's data folder.",
    )
