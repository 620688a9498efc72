"""A Ray cluster of one host on loopback, as somebody else would have started it."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from service.executors.ray_settings import set_ray_environment
from service.ray_config import RayConfig

CPUS = 4
STORE_BYTES = 80 * 2**20
PATIENCE_SECONDS = 60


@contextmanager
def connected_cluster() -> Iterator[str]:
    """Run a cluster, connect this process to it, and yield the cluster's address."""
    with ray_cluster() as address:
        set_ray_environment(RayConfig(address=address))
        from service.executors.ray import connect, disconnect

        connect(address)
        try:
            yield address
        finally:
            disconnect()


@contextmanager
def ray_cluster() -> Iterator[str]:
    """Run a cluster and yield its address; its processes are in a group of their own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    head = subprocess.Popen(
        [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
            *("--port", str(port), "--num-cpus", str(CPUS), "--include-dashboard", "false"),
            *("--object-store-memory", str(STORE_BYTES), "--disable-usage-stats"),
        ],
        # Without a token, which Ray would keep in the home folder: it listens on loopback only.
        env=os.environ | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert head.stdout is not None
        said = []
        for line in head.stdout:
            said.append(line)
            if "Ray runtime started" in line:
                break
        else:
            raise AssertionError("".join(said))
        yield f"127.0.0.1:{port}"
    finally:
        head.terminate()
        try:
            head.wait(timeout=PATIENCE_SECONDS)
        finally:
            if head.stdout is not None:
                head.stdout.close()
