"""Who calls: a bearer token of the token file, and the tenant it stands for.

This version listens on loopback. Whoever can read the token file, mode 0600, may do everything.
Names of another tenant are answered as if they did not exist.
"""

import hmac
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import final

from auditor.errors import ArtifactMissingError, AuthenticationError, InternalError
from service.records.base import DEFAULT_TENANT
from service.token_file import TokenEntry

_SCHEME = "Bearer "

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


def sees_every_tenant() -> bool:
    """Say whether the caller operates the service: its token stands for the tenant ``default``."""
    return caller().tenant == DEFAULT_TENANT


@final
class TokenAuthority:
    """Knows the tokens of a service.

    Args:
        entries: Those of its token file.
    """

    def __init__(self, entries: Iterable[TokenEntry]) -> None:
        self._tenants = [(entry.token.encode(), entry.tenant) for entry in entries]

    def authenticate(
        self, metadata: Iterable[tuple[str, str | bytes]], *, request_id: str
    ) -> Caller:
        """Return who sent this metadata.

        Raises:
            AuthenticationError: If the token is missing or none of those known.
        """
        given = [value for key, value in metadata if key == "authorization"]
        if not given:
            raise _refused("none")
        text = given[0].decode(errors="replace") if isinstance(given[0], bytes) else given[0]
        if not text.startswith(_SCHEME):
            raise _refused("another scheme")
        secret = text.removeprefix(_SCHEME).encode()
        # Constant time: how long this takes must not tell which token is right, or how much of it.
        matching = [t for token, t in self._tenants if hmac.compare_digest(secret, token)]
        if not matching:
            raise _refused("another token")
        return Caller(tenant=matching[0], principal="token", request_id=request_id)


def _refused(found: str) -> AuthenticationError:
    return AuthenticationError(
        "authorization",
        expected="`Bearer` and a token of the service's token file",
        found=found,
        remedy="Send the content of the file `token` in the service's data folder.",
    )
