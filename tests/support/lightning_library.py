"""Lightning, imported where a torchvision of another torch lies about (see tests/conftest.py)."""

from importlib.metadata import PackageNotFoundError, version

from lightning_utilities.core import imports


def _version(name: str) -> str:
    if name == "torchvision":
        raise PackageNotFoundError(name)
    return version(name)


# Lightning asks the package's metadata whether to import it; no module of it is importable.
imports._version = _version

import lightning.pytorch as lightning  # noqa: E402 - see above

__all__ = ["lightning"]
