"""Pages of a list (AIP-158): sizes are cut, tokens are sealed to the list they came from."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import NoReturn, TypeVar, final

from auditor.errors import InputError
from service.records.base import Position

DEFAULT_SIZE = 50
LARGEST_SIZE = 1000
TOKEN_CHARACTERS = 1024

_SEAL_BYTES = 16
Row = TypeVar("Row")


def page_size(asked: int) -> int:
    """Return how many rows a page has.

    Raises:
        InputError: If ``asked`` is negative.
    """
    if asked < 0:
        raise InputError(
            "page_size", expected="a number >= 0", found=asked, remedy="Leave it out for 50."
        )
    return min(asked, LARGEST_SIZE) or DEFAULT_SIZE


@final
class PageTokens:
    """Makes and reads page tokens.

    Args:
        secret: Known to this service only; tokens end with it.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = hashlib.sha256(b"page tokens\0" + secret).digest()

    def write(self, position: Position, *, scope: Sequence[str]) -> str:
        """Return the token of the page after ``position``.

        Args:
            position: The last row of the page before.
            scope: Whatever selects the list: collection, tenant, filters.

        Returns:
            URL-safe text.
        """
        body = json.dumps([position.created, position.digest]).encode()
        return base64.urlsafe_b64encode(self._seal(body, scope=scope) + body).decode("ascii")

    def read(self, token: str, *, scope: Sequence[str]) -> Position | None:
        """Return where the page begins: None for the first one.

        Raises:
            InputError: If the token is not one of this list, or its filters have changed.
        """
        if not token:
            return None
        if len(token) > TOKEN_CHARACTERS:
            _refuse()
        try:
            raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            _refuse()
        seal, body = raw[:_SEAL_BYTES], raw[_SEAL_BYTES:]
        if not hmac.compare_digest(seal, self._seal(body, scope=scope)):
            _refuse()
        created, digest = json.loads(body)
        return Position(created=created, digest=digest)

    def _seal(self, body: bytes, *, scope: Sequence[str]) -> bytes:
        bound = json.dumps(list(scope)).encode()
        message = len(bound).to_bytes(4, "big") + bound + body
        return hmac.digest(self._secret, message, "sha256")[:_SEAL_BYTES]


def cut_page(rows: Sequence[Row], *, size: int) -> tuple[Sequence[Row], bool]:
    """Return the rows of a page, asked for with one more, and whether others follow."""
    return rows[:size], len(rows) > size


def _refuse() -> NoReturn:
    raise InputError(
        "page_token",
        expected="the next_page_token of the same list with the same filters",
        found="another text",
        remedy="Start again with an empty page_token.",
    )
