"""Parts that a light installation lacks are named, with the command that adds them."""

from collections.abc import Iterator
from contextlib import contextmanager

from auditor.errors import PreconditionError


@contextmanager
def needs_extra(extra: str, *, purpose: str) -> Iterator[None]:
    """Turn a missing library into the extra to install.

    Args:
        extra: Name of the extra that brings what is imported inside.
        purpose: What needs it, as the start of a sentence.

    Raises:
        PreconditionError: If something imported inside is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise PreconditionError(
            purpose,
            expected=f"the extra [{extra}]",
            found=f"no module {error.name}",
            remedy=f"Install it with `pip install 'stageaudit[{extra}]'`.",
        ) from error
