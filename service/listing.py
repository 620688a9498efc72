"""Lists that a service hands out in pages, as a whole."""

from collections.abc import Callable, Sequence
from typing import TypeVar

Row = TypeVar("Row")


def all_pages(page: Callable[[str], tuple[Sequence[Row], str]]) -> list[Row]:
    """Return the rows of all pages.

    Args:
        page: From a page's token, "" for the first, to its rows and the token of the next, "" at
            the end.
    """
    rows: list[Row] = []
    token = ""
    while True:
        more, token = page(token)
        rows += more
        if not token:
            return rows
