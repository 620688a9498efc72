"""A large blob through the service against a bare gRPC stream of the same chunk size.

Usage: python -m benchmarks.upload [--quick] [--json F]

This process is the client, the service and the bare server are processes of their own on loopback,
and all three write below one folder. The service checks the digest, the offsets, the caller and
the tenant, and stores durably; the bare server writes and fsyncs. ``messages`` is a bare stream of
the service's own messages, which the bound of 80 % is about; ``bytes`` one without protobuf.
``cpu_seconds`` is what both processes
used together, which a busy machine disturbs less than the rates.
``growth`` is how far the resident memory of either side rose above what it was before the first
large upload, at its peak; the bound is 64 MiB.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from benchmarks.measuring import (
    cpu_seconds,
    machine_facts,
    median_ratio,
    publish,
    read_options,
    seconds_of,
)
from benchmarks.serving import Service, running_service
from service.channel import Connection
from service.pb.v1 import blob_pb2
from service.records.base import DEFAULT_TENANT
from service.transfer import CHUNK_BYTES, FileSource, Transfer, digest_of_source

RATE_BOUND = 0.8
GROWTH_BOUND_BYTES = 64 * 2**20
WARM_BYTES = 32 * 2**20


def write_blob(path: Path, *, size: int, mark: int) -> None:
    """Write a file that no other mark gives; its chunks differ, so nothing can be shared."""
    with Path("/dev/urandom").open("rb") as source, path.open("wb") as file:
        block = bytearray(source.read(CHUNK_BYTES))
        for chunk in range(size // CHUNK_BYTES):
            block[:16] = mark.to_bytes(8, "little") + chunk.to_bytes(8, "little")
            file.write(block)


@contextmanager
def bare_server(folder: Path) -> Iterator[tuple[grpc.Channel, int]]:
    """Start the bare server and yield a channel to it and its process id."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.bare_server", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    port = int(process.stdout.readline())
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel, process.pid
    finally:
        process.communicate(timeout=60)


def send_bytes(channel: grpc.Channel, path: Path) -> None:
    """Send a file as a stream of bytes."""
    channel.stream_unary("/bare.Bare/Write")(FileSource(path).parts(0))


def send_messages(channel: grpc.Channel, path: Path) -> None:
    """Send a file as a stream of the service's messages."""

    def messages() -> Iterator[blob_pb2.WriteBlobRequest]:
        offset = 0
        for data in FileSource(path).parts(0):
            yield blob_pb2.WriteBlobRequest(write_offset=offset, data=data)
            offset += len(data)

    channel.stream_unary(
        "/bare.Bare/WriteMessages", request_serializer=blob_pb2.WriteBlobRequest.SerializeToString
    )(messages())


class Peak:
    """The highest resident memory of a process since this was made, by the kernel's own count."""

    def __init__(self, pid: int | str) -> None:
        self._status = Path(f"/proc/{pid}/status")
        Path(f"/proc/{pid}/clear_refs").write_text("5")
        self._before = self._read("VmRSS")

    def growth_bytes(self) -> int:
        """Return the peak above what it was."""
        return self._read("VmHWM") - self._before

    def _read(self, name: str) -> int:
        lines = self._status.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def through_service(service: Service, path: Path) -> Callable[[], None]:
    """Return what uploads the file's present content; its digest is known, as a log's blobs' is."""
    source = FileSource(path)
    digest = digest_of_source(source)

    def send() -> None:
        with Connection(service.address, token=service.token) as connection:
            Transfer(connection, tenant=DEFAULT_TENANT).send({digest: source}, on_progress=None)

    return send


def measure(folder: Path, *, size: int, repeats: int) -> dict[str, Any]:
    """Return the figures of uploads of ``size`` bytes."""
    path = folder / "blob"
    with running_service(folder / "data") as service, bare_server(folder) as (channel, bare):
        write_blob(path, size=WARM_BYTES, mark=0)
        for send in (
            through_service(service, path),
            lambda: send_bytes(channel, path),
            lambda: send_messages(channel, path),
        ):
            send()
        sides = {
            "service": service.pid,
            "messages": bare,
            "bytes": bare,
        }
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        cpu: dict[str, list[float]] = {name: [] for name in sides}
        growth = {"client": 0, "server": 0}
        for mark in range(1, repeats + 1):
            write_blob(path, size=size, mark=mark)
            uploads = {
                "service": through_service(service, path),
                "messages": lambda: send_messages(channel, path),
                "bytes": lambda: send_bytes(channel, path),
            }
            client, server = Peak("self"), Peak(service.pid)
            for name in sides if mark % 2 else reversed(sides):
                before = cpu_seconds(os.getpid()) + cpu_seconds(sides[name])
                seconds[name].append(seconds_of(uploads[name]))
                cpu[name].append(cpu_seconds(os.getpid()) + cpu_seconds(sides[name]) - before)
            growth["client"] = max(growth["client"], client.growth_bytes())
            growth["server"] = max(growth["server"], server.growth_bytes())
    return {
        "blob_bytes": size,
        "chunk_bytes": CHUNK_BYTES,
        "repeats": repeats,
        "mib_per_second": {
            name: round(size / 2**20 / min(spent), 1) for name, spent in seconds.items()
        },
        "cpu_seconds_of_both_sides": {name: round(min(spent), 2) for name, spent in cpu.items()},
        "rate_relative_to_messages": round(
            median_ratio(seconds, over="messages", under="service"), 3
        ),
        "rate_relative_to_bytes": round(median_ratio(seconds, over="bytes", under="service"), 3),
        "growth_mib": {side: round(value / 2**20, 1) for side, value in growth.items()},
        "rate_bound": RATE_BOUND,
        "growth_bound_mib": GROWTH_BOUND_BYTES // 2**20,
    }


def main() -> None:
    """Print the figures; exit with 1 when a bound is not kept."""
    options = read_options(__doc__)
    facts = machine_facts()
    size, repeats = (128 * 2**20, 2) if options.quick else (2**30, 5)
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Path(folder), size=size, repeats=repeats)
    kept = results["rate_relative_to_messages"] >= RATE_BOUND and all(
        growth <= results["growth_bound_mib"] for growth in results["growth_mib"].values()
    )
    publish("upload", options=options, facts=facts, results=results | {"within_bounds": kept})
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
