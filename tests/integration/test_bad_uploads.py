"""Bytes that do not arrive as announced, and files that are no models: refused, nothing kept."""

import json
import struct
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from auditor.errors import ArtifactMissingError, InputError, ResourceError
from auditor.stagelog.digest import Digest, sha256
from service.channel import Connection
from service.client import Client
from service.names import UploadName
from service.pb.v1 import blob_pb2, model_pb2
from tests.support.refusals import blobs_of, refused
from tests.support.served import Served, served

MEBIBYTE = 2**20
DATA = bytes(range(256)) * 4096 * 3 + b"tail"  # a little more than 3 MiB


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture
def client(service: Served) -> Iterator[Client]:
    with service.client() as connected:
        yield connected


@pytest.fixture
def connection(service: Served) -> Iterator[Connection]:
    with Connection(service.address.address, token=service.token) as connected:
        yield connected


def name_of(data: bytes) -> UploadName:
    return UploadName(
        tenant="default", upload=str(uuid.uuid4()), digest=sha256(data), size=len(data)
    )


def write(
    connection: Connection, name: UploadName, data: bytes, *, offset: int = 0, end: int
) -> int:
    messages = (
        blob_pb2.WriteBlobRequest(
            resource_name=str(name),
            write_offset=start,
            data=data[start : min(start + MEBIBYTE, end)],
            finish_write=min(start + MEBIBYTE, end) == name.size,
        )
        for start in range(offset, end, MEBIBYTE)
    )
    answer = connection.once(connection.blobs.WriteBlob, messages, seconds=30)
    return answer.committed_size


def committed(connection: Connection, name: UploadName) -> int:
    query = blob_pb2.QueryWriteStatusRequest(resource_name=str(name))
    return connection.call(connection.blobs.QueryWriteStatus, query).committed_size


def test_unknown_blob_is_missing(service: Served, client: Client) -> None:
    digest = sha256(b"never sent")

    with refused(service, client) as refusal:
        client.get_blob(digest, size=10)

    name = f"tenants/default/blobs/{digest}/10"
    refusal.says(ArtifactMissingError, name, expected="a blob that this tenant", found="none")


def test_bytes_with_another_digest_are_refused(
    service: Served, client: Client, connection: Connection
) -> None:
    name, before = name_of(DATA + b"1"), blobs_of(service)

    with refused(service, client) as refusal:
        write(connection, name, b"!" + DATA[1:] + b"1", end=name.size)

    found = sha256(b"!" + DATA[1:] + b"1")
    refusal.says(InputError, "resource_name", expected=name.digest, found=found)
    assert committed(connection, name) == 0
    assert blobs_of(service) == before


def test_small_blob_with_another_digest_is_refused(
    service: Served, client: Client, connection: Connection
) -> None:
    digest, before = sha256(b"announced"), blobs_of(service)
    request = blob_pb2.BatchWriteBlobsRequest(
        parent="tenants/default", blobs=[blob_pb2.BlobContent(digest=digest, data=b"sent")]
    )

    with refused(service, client) as refusal:
        connection.call(connection.blobs.BatchWriteBlobs, request)

    refusal.says(InputError, "blobs[0].digest", expected=digest, found=sha256(b"sent"))
    assert blobs_of(service) == before


def test_truncated_upload_keeps_only_what_can_be_resumed(
    service: Served, client: Client, connection: Connection
) -> None:
    data = DATA + b"2"
    name, before = name_of(data), blobs_of(service)

    with pytest.raises(InputError) as caught:
        write(connection, name, data, end=2 * MEBIBYTE)

    assert caught.value.where == "finish_write"
    assert "a last message" in caught.value.expected
    assert "the end" in caught.value.found
    assert "QueryWriteStatus" in caught.value.remedy
    assert blobs_of(service) == before
    (kept,) = service.config.uploads_dir.iterdir()
    assert kept.stat().st_size == committed(connection, name) == 2 * MEBIBYTE

    assert write(connection, name, data, offset=2 * MEBIBYTE, end=len(data)) == len(data)
    assert client.get_blob(name.digest, size=len(data)) == data
    assert list(service.config.uploads_dir.iterdir()) == []


def header(document: object, *, length: int | None = None) -> bytes:
    text = json.dumps(document).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text


def entry(*, begin: int = 0, end: int = 8, shape: tuple[int, ...] = (2,)) -> dict[str, object]:
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}


def outside() -> bytes:
    """Return an ONNX file whose weights are said to lie in another file."""
    weight = onnx.numpy_helper.from_array(np.zeros(4, np.float32), "weight")
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../../etc/passwd")
    return with_weight(weight)


def boundless() -> bytes:
    """Return an ONNX file of a few bytes that speaks of 2^60 numbers."""
    return with_weight(
        onnx.TensorProto(name="weight", data_type=onnx.TensorProto.FLOAT, dims=[2**30, 2**30])
    )


def with_weight(weight: onnx.TensorProto) -> bytes:
    node = onnx.helper.make_node("Add", ["x", "weight"], ["y"])
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [4])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [4])
    graph = onnx.helper.make_graph([node], "g", [value], [result], initializer=[weight])
    return onnx.helper.make_model(graph).SerializeToString()


HOSTILE: dict[str, tuple[str, Callable[[], bytes]]] = {
    "empty": ("model.safetensors", lambda: b""),
    "endless header": ("model.safetensors", lambda: header({}, length=2**62)),
    "header beyond the file": ("model.safetensors", lambda: header({}, length=1000)),
    "tensor beyond the file": ("model.safetensors", lambda: header({"w": entry(end=2**50)})),
    "tensor before the file": (
        "model.safetensors", lambda: header({"w": entry(begin=-8, end=0)}) + bytes(8),
    ),
    "tensors that overlap": (
        "model.safetensors",
        lambda: header({"v": entry(), "w": entry(begin=4, end=12)}) + bytes(12),
    ),
    "shape that wraps around": (
        "model.safetensors", lambda: header({"w": entry(shape=(2**33, 2**33))}) + bytes(8),
    ),
    "not JSON": ("model.safetensors", lambda: struct.pack("<Q", 2) + b"{]" + bytes(8)),
    "not ONNX": ("model.onnx", lambda: b"\xff" * 64),
    "weights in another file": ("model.onnx", outside),
    "weights that are not there": ("model.onnx", boundless),
    "without weights": ("model.onnx", lambda: onnx.ModelProto(ir_version=8).SerializeToString()),
}  # fmt: skip


@pytest.mark.parametrize(("name", "make"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_model_is_refused(
    service: Served, client: Client, tmp_path: Path, name: str, make: Callable[[], bytes]
) -> None:
    path = tmp_path / name
    path.write_bytes(make())

    with refused(service, client) as refusal:
        client.push_model(path)

    error = refusal.error
    assert isinstance(error, InputError | ResourceError)
    assert error.where
    assert error.expected
    assert error.found
    assert error.remedy.endswith(".")


def test_model_that_was_not_sent_is_a_missing_blob(
    service: Served, client: Client, connection: Connection
) -> None:
    request = model_pb2.CreateModelRequest(
        parent="tenants/default",
        digest=Digest("d" * 64),
        format=model_pb2.MODEL_FORMAT_SAFETENSORS,
    )

    with refused(service, client) as refusal:
        connection.call(connection.models.CreateModel, request)

    assert refusal.error is not None
    assert refusal.error.code == "BLOBS_MISSING"
    assert refusal.error.where == "digest"
    assert "d" * 12 in refusal.error.found
