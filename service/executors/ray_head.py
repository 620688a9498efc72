"""A Ray cluster of this machine, in a process of its own that ends with the one that started it.

Not in the front end itself: Ray forks to start its processes, which gRPC does not survive.
"""

import json
import logging
import subprocess
import sys
from typing import final

import ray

from auditor.errors import UnavailableError

_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from service.executors.ray_head import main; main()"
)
_STORE_BYTES = 80 * 2**20
"""Ray asks for at least 75 MiB; messages are small and blobs go through the shared folder."""
_STOP_SECONDS = 20.0


@final
class RayHead:
    """The process that holds a cluster; its end, or the end of its pipe, is the cluster's."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
            [sys.executable, "-P", "-c", _BOOT, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the front end, which drains first
        )

    def address(self) -> str:
        """Return where the cluster listens, once it does.

        Raises:
            UnavailableError: If it could not be started.
        """
        line = b"" if self._process.stdout is None else self._process.stdout.readline()
        if not line:
            raise UnavailableError(
                "Ray cluster on this machine",
                expected="one that starts",
                found="its end",
                remedy="Read the lines above, or start one with `ray start` and pass its address.",
            )
        return line.decode().strip()

    def stop(self) -> None:
        """End the cluster and wait for it."""
        with self._process as process:
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(timeout=_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def main() -> None:
    """Hold a cluster until the pipe ends."""
    answers = sys.stdout
    sys.stdout = sys.stderr
    ray.init(
        address="local",
        include_dashboard=False,
        object_store_memory=_STORE_BYTES,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    answers.write(ray.get_runtime_context().gcs_address + "\n")
    answers.flush()
    sys.stdin.buffer.read()
    ray.shutdown()
