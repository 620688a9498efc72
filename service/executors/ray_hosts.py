"""What the hosts of a Ray cluster must have: room, the data folder, the same code; no Ray here."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from auditor.errors import UnavailableError
from service.ray_config import RayConfig
from service.versions import installed_versions

Resources = Mapping[str, float]
"""CPUs, GPUs and others of a host, by Ray's names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """What a host must have in common with the service: the data folder and the code."""

    marker: Path
    secret: str
    versions: Mapping[str, str]


@final
class Marker:
    """A file in the data folder by which a host shows that it sees the folder: one a front end.

    Args:
        folder: The data folder.
        front_end: Whose marker it is; another front end of the folder has another one.
    """

    def __init__(self, folder: Path, *, front_end: str) -> None:
        self.path = folder / f".ray-marker-{front_end}"
        self.secret = secrets.token_hex(16)

    def write(self) -> None:
        """Mark the folder, in place of a marker of this front end's earlier life."""
        self.path.write_text(self.secret)

    def remove(self) -> None:
        """Take the mark away, if it is this one."""
        try:
            own = self.path.read_text() == self.secret
        except OSError:
            return
        if own:
            self.path.unlink(missing_ok=True)


def unfit(expected: Expected, *, host: str) -> UnavailableError | None:
    """Return what keeps this host from running workers, if anything does."""
    try:
        found = expected.marker.read_text()
    except OSError as error:
        found = error.strerror or "nothing"
    if found != expected.secret:
        return UnavailableError(
            f"{expected.marker.parent} on {host}",
            expected="the data folder of the service",
            found="another folder" if expected.marker.exists() else found,
            remedy="Mount the folder under the same path on every host of the cluster.",
        )
    versions = installed_versions()
    if versions != dict(expected.versions):
        return UnavailableError(
            f"packages on {host}",
            expected=str(dict(expected.versions)),
            found=versions,
            remedy="Install the versions of the service on every host of the cluster.",
        )
    return None


def room_on(hosts: Sequence[Resources], *, config: RayConfig) -> int:
    """Return how many workers the hosts can hold; no worker is spread over two."""
    each = {"CPU": config.cpus_per_worker, "GPU": config.gpus_per_worker}
    asked = {name: count for name, count in each.items() if count}
    return sum(min(int(host.get(name, 0) // asked[name]) for name in asked) for host in hosts)


def sharing(host: str, *, placed: Sequence[str | None], room: int) -> int:
    """Return how many workers share a host's memory, itself included; not those of other hosts.

    Args:
        host: Its name.
        placed: The host of every worker; None where Ray has not placed it yet: it may come here.
        room: How many workers the host can hold.
    """
    return max(1, min(room, placed.count(host) + placed.count(None)))


def require_room(config: RayConfig, *, hosts: Sequence[Resources]) -> None:
    """Refuse to ask for more than there is: Ray would wait for it for ever.

    Raises:
        UnavailableError: If the workers do not fit.
    """
    room = room_on(hosts, config=config)
    if room >= config.workers:
        return
    cpus, gpus = (sum(host.get(name, 0) for host in hosts) for name in ("CPU", "GPU"))
    raise UnavailableError(
        "Ray cluster",
        expected=f"room for {config.workers} workers with CPUs: {config.cpus_per_worker}, "
        f"GPUs: {config.gpus_per_worker} each",
        found=f"room for {room}; hosts: {len(hosts)}, CPUs: {cpus:g}, GPUs: {gpus:g}",
        remedy="Add hosts, or lower ray.workers, ray.cpus_per_worker or ray.gpus_per_worker.",
    )
