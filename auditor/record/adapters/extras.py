"""Say which extra to install when a training library is missing."""

from collections.abc import Iterator
from contextlib import contextmanager

from auditor.errors import PreconditionError


@contextmanager
def naming_extra(extra: str) -> Iterator[None]:
    """Translate a failing import inside the block.

    Args:
        extra: What the package calls the library's optional dependencies.

    Raises:
        PreconditionError: If a module is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise PreconditionError(
            f"recording with {extra}",
            expected=f"the extra [{extra}]",
            found=f"no module {error.name}",
            remedy=f"Install it with `pip install 'stageaudit[{extra}]'`.",
        ) from error
