"""Where Ray runs the workers, and whether anybody else can reach that."""

from ipaddress import ip_address
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]


def is_loopback(host: str) -> bool:
    """Say whether a host, by name or address, is this machine and cannot be reached by others."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class RayConfig(BaseModel):
    """Where Ray runs the workers, and how many.

    Args:
        address: ``host:port`` of a cluster to which this host belongs; None starts one here.
        workers: How many, each beside an actor.
        gpus_per_worker: 1 to compute on a GPU, 0 to compute on the CPU.
        cpus_per_worker: CPUs that Ray sets aside; also the worker's threads unless
            ``threads_per_worker`` says otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: Annotated[str, Field(pattern=r"^[^/\s]+:\d{1,5}$")] | None = None
    workers: Positive = 1
    gpus_per_worker: Annotated[int, Field(ge=0, le=1)] = 0
    cpus_per_worker: Positive = 1

    @property
    def on_loopback(self) -> bool:
        """Say whether no other host can be part of the cluster."""
        return self.address is None or is_loopback(self.address.rpartition(":")[0].strip("[]"))

    @property
    def devices(self) -> tuple[str, ...]:
        """Return the device of each worker; Ray shows it no GPU but its own."""
        return ("cuda:0" if self.gpus_per_worker else "cpu",) * self.workers
