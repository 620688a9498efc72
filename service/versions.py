"""Which versions of the packages that figures depend on are installed."""

from importlib.metadata import PackageNotFoundError, version


def installed_versions() -> dict[str, str]:
    """Return the versions of this package, under ``version``, and of torch."""
    return {"version": _version("stageaudit"), "torch": _version("torch")}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
