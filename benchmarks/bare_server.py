"""The least that a gRPC server can do with an upload: write every chunk, flush, fsync.

Usage: python -m benchmarks.bare_server FOLDER    (prints its port, ends with its standard input)

``Write`` takes bytes as they are; ``WriteMessages`` takes the service's own messages. Neither
checks, hashes or names anything. Every upload is a new file, as in a store: writing over the last
one would reuse its pages, which on a virtual machine costs less than half as much.
"""

import asyncio
import itertools
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc

from service.pb.v1 import blob_pb2

_number = itertools.count()


def writer(path: Path, data_of: Callable[[Any], bytes]) -> Callable[..., Any]:
    """Return a client-stream method that writes to files named after ``path``."""

    async def write(chunks: AsyncIterator[Any], _: object) -> bytes:
        fresh = path.with_name(f"{path.name}-{next(_number)}")
        with fresh.open("wb", buffering=0) as file:
            async for chunk in chunks:
                file.write(data_of(chunk))
            os.fsync(file.fileno())
        return b""

    return write


async def serve(folder: Path) -> None:
    """Serve until standard input ends."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 4 * 2**20)])
    methods = {
        "Write": grpc.stream_unary_rpc_method_handler(
            writer(folder / "bytes", lambda chunk: chunk)
        ),
        "WriteMessages": grpc.stream_unary_rpc_method_handler(
            writer(folder / "messages", lambda message: message.data),
            request_deserializer=blob_pb2.WriteBlobRequest.FromString,
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bare.Bare", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(grace=None)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
