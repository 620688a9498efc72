"""Links to pages of reports: a name and an end of validity, sealed with a key of this service.

Whoever has a link reads one page until it ends; it says nothing about other reports. The key lies
in the data folder, readable by its owner only: without the file, links made before no longer hold.
"""

import contextlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final
from urllib.parse import parse_qs

from auditor.errors import AuthenticationError, InputError
from auditor.stagelog.digest import Digest
from service.durable_files import write_new
from service.names import member_name, parse_member

KEY_BYTES: Final = 32
KEY_MODE: Final = 0o600
DEFAULT_SECONDS: Final = 3600
LONGEST_SECONDS: Final = 24 * 3600

_EXPIRES = re.compile(r"[1-9][0-9]{0,11}")
_REMEDY: Final = "Ask for a new link: `stageaudit report link REPORT`."


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkedReport:
    """Whose report a link leads to."""

    tenant: str
    digest: Digest


@final
class ReportLinks:
    """Makes and reads links.

    Args:
        key: Known to this service only.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def write(self, report: LinkedReport, *, expires: int) -> str:
        """Return path and query of the page.

        Args:
            report: Which one; the caller has made sure that they may read it.
            expires: Seconds since 1970 from which on the link no longer holds.
        """
        name = member_name(report.tenant, "reports", report.digest)
        return f"/{name}?expires={expires}&signature={self._seal(name, expires=str(expires))}"

    def read(self, target: str, *, now: float) -> LinkedReport:
        """Return whose report a request's target leads to.

        Raises:
            AuthenticationError: If the link was not made here, was changed, or is over. The
                message does not tell which reports there are.
        """
        path, _, query = target.partition("?")
        fields = _fields(query)
        expires, signature = fields.get("expires", ""), fields.get("signature", "")
        name = path.removeprefix("/")
        # Over the text as it was sent: what is sealed is what is compared.
        holds = hmac.compare_digest(signature.encode(), self._seal(name, expires=expires).encode())
        if not holds or _EXPIRES.fullmatch(expires) is None:
            raise _refused("another link")
        if now >= int(expires):
            raise _refused("a link that is over")
        try:
            tenant, digest = parse_member(name, collection="reports")
        except InputError as error:
            raise _refused("another link") from error
        return LinkedReport(tenant=tenant, digest=Digest(digest))

    def _seal(self, name: str, *, expires: str) -> str:
        message = f"report page\0{name}\0{expires}".encode()
        return hmac.new(self._key, message, "sha256").hexdigest()


def link_seconds(asked: int) -> int:
    """Return for how long a link holds.

    Raises:
        InputError: If it is negative or longer than a day.
    """
    if not 0 <= asked <= LONGEST_SECONDS:
        raise InputError(
            "validity",
            expected=f"0 for an hour, or at most {LONGEST_SECONDS} seconds",
            found=asked,
            remedy="Ask for a shorter time; a link can be made again.",
        )
    return asked or DEFAULT_SECONDS


def load_or_create_link_key(path: Path) -> bytes:
    """Return the key of a file, made on the first start, readable by its owner only.

    Raises:
        InputError: If the file is no such key.
    """
    with contextlib.suppress(FileExistsError):
        write_new(path, secrets.token_bytes(KEY_BYTES), mode=KEY_MODE)
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise InputError(
            path.name,
            expected=f"{KEY_BYTES} bytes",
            found=f"{len(key)} bytes",
            remedy="Remove the file: the service makes a new one, and links made before end.",
        )
    return key


def _fields(query: str) -> Mapping[str, str]:
    """Return the members of a query; one that is there twice is none."""
    try:
        found = parse_qs(query, max_num_fields=4, strict_parsing=True)
    except ValueError:
        return {}
    return {name: values[0] for name, values in found.items() if len(values) == 1}


def _refused(found: str) -> AuthenticationError:
    return AuthenticationError(
        "link", expected="a link of this service", found=found, remedy=_REMEDY
    )
