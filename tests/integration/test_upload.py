"""Blobs through the real server: whole, in pieces, wrong, twice, resumed after a restart."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from auditor.errors import ArtifactDigestError, ArtifactMissingError, InputError
from auditor.stagelog.digest import Digest, sha256
from service.config import Limits
from service.names import UploadName
from service.pb.v1 import blob_pb2
from service.pb.v1.blob_service_pb2_grpc import BlobServiceStub
from tests.support.served import Served, served

MEBIBYTE = 2**20
DATA = bytes(range(256)) * 4096 * 5 + b"tail"  # a little more than 5 MiB


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    limits = Limits(blob_bytes=64 * MEBIBYTE)
    with served(tmp_path_factory.mktemp("upload"), limits=limits) as running:
        yield running


@pytest.fixture(scope="module")
def stub(service: Served) -> Iterator[BlobServiceStub]:
    with service.channel() as channel:
        yield BlobServiceStub(channel)


def name_of(data: bytes, *, size: int | None = None, tenant: str = "default") -> UploadName:
    return UploadName(
        tenant=tenant,
        upload=str(uuid.uuid4()),
        digest=sha256(data),
        size=len(data) if size is None else size,
    )


def messages(
    name: UploadName, data: bytes, *, offset: int = 0, end: int | None = None
) -> Iterator[blob_pb2.WriteBlobRequest]:
    for start in range(offset, len(data) if end is None else end, MEBIBYTE):
        part = data[start : min(start + MEBIBYTE, len(data) if end is None else end)]
        yield blob_pb2.WriteBlobRequest(
            resource_name=str(name),
            write_offset=start,
            data=part,
            finish_write=start + len(part) == len(data),
        )


def write(service: Served, stub: BlobServiceStub, stream: Iterator) -> int:
    return stub.WriteBlob(stream, metadata=service.metadata, timeout=30).committed_size


def status_of(
    service: Served, stub: BlobServiceStub, name: UploadName
) -> blob_pb2.QueryWriteStatusResponse:
    request = blob_pb2.QueryWriteStatusRequest(resource_name=str(name))
    return stub.QueryWriteStatus(request, metadata=service.metadata, timeout=30)


def unique(data: bytes = DATA) -> bytes:
    """Return bytes that no other test has sent."""
    return data + uuid.uuid4().bytes


def test_file_arrives_as_it_was(service: Served, tmp_path: Path) -> None:
    data = unique()
    path = tmp_path / "file"
    path.write_bytes(data)
    steps: list[tuple[int, int]] = []

    with service.client() as client:
        digest = client.push_blob(path, on_progress=lambda done, total: steps.append((done, total)))
        fetched = client.get_blob(digest, size=len(data))

    assert digest == sha256(data)
    assert fetched == data
    assert steps[-1] == (len(data), len(data))
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)


@pytest.mark.parametrize("data", [b"", b"x", b"y" * MEBIBYTE, b"z" * (MEBIBYTE + 1)], ids=len)
def test_sizes_at_the_edges_arrive(service: Served, data: bytes) -> None:
    with service.client() as client:
        digest = client.push_blob(data)

        assert client.get_blob(digest, size=len(data)) == data


def test_interrupted_upload_goes_on_where_it_stopped(
    service: Served, stub: BlobServiceStub
) -> None:
    data = unique()
    name = name_of(data)

    with pytest.raises(grpc.RpcError) as caught:
        write(service, stub, messages(name, data, end=3 * MEBIBYTE))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # the stream ended early
    assert status_of(service, stub, name).committed_size == 3 * MEBIBYTE
    assert write(service, stub, messages(name, data, offset=3 * MEBIBYTE)) == len(data)

    assert status_of(service, stub, name).complete


def test_overlap_is_skipped(service: Served, stub: BlobServiceStub) -> None:
    data = unique()
    name = name_of(data)
    with pytest.raises(grpc.RpcError):
        write(service, stub, messages(name, data, end=2 * MEBIBYTE + 77))

    assert write(service, stub, messages(name, data, offset=MEBIBYTE)) == len(data)


def test_gap_is_refused_with_the_committed_size(service: Served, stub: BlobServiceStub) -> None:
    data = unique()

    with pytest.raises(grpc.RpcError) as caught:
        write(service, stub, messages(name_of(data), data, offset=MEBIBYTE))

    assert caught.value.code() is grpc.StatusCode.OUT_OF_RANGE
    assert "write_offset <= 0" in caught.value.details()


def test_wrong_digest_is_refused_and_leaves_nothing(service: Served, stub: BlobServiceStub) -> None:
    data = unique()
    name = name_of(data)

    with pytest.raises(grpc.RpcError) as caught:
        write(service, stub, messages(name, b"!" + data[1:]))

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert status_of(service, stub, name).committed_size == 0
    assert not list(service.config.uploads_dir.glob(f"*{name.digest}"))


def test_blob_that_is_there_is_answered_at_once(service: Served, stub: BlobServiceStub) -> None:
    data = unique()
    with service.client() as client:
        client.push_blob(data)

    def one_message() -> Iterator[blob_pb2.WriteBlobRequest]:
        yield next(messages(name_of(data), data))

    assert write(service, stub, one_message()) == len(data)


def test_missing_blobs_are_those_not_sent(service: Served, stub: BlobServiceStub) -> None:
    sent, not_sent = unique(b"sent"), unique(b"not sent")
    with service.client() as client:
        client.push_blob(sent)
    asked = [
        blob_pb2.BlobId(digest=sha256(data), size_bytes=len(data)) for data in (sent, not_sent)
    ]
    request = blob_pb2.FindMissingBlobsRequest(parent="tenants/default", blobs=asked)

    answer = stub.FindMissingBlobs(request, metadata=service.metadata, timeout=30)

    assert [blob.digest for blob in answer.missing] == [sha256(not_sent)]


def test_batch_with_one_wrong_digest_stores_nothing(service: Served, stub: BlobServiceStub) -> None:
    good, bad = unique(b"good"), unique(b"bad")
    request = blob_pb2.BatchWriteBlobsRequest(
        parent="tenants/default",
        blobs=[
            blob_pb2.BlobContent(digest=sha256(good), data=good),
            blob_pb2.BlobContent(digest=sha256(bad), data=b"other"),
        ],
    )

    with pytest.raises(grpc.RpcError) as caught:
        stub.BatchWriteBlobs(request, metadata=service.metadata, timeout=30)

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with service.client() as client, pytest.raises(ArtifactMissingError):
        client.get_blob(sha256(good), size=len(good))


def test_name_of_another_tenant_does_not_exist(service: Served, stub: BlobServiceStub) -> None:
    data = unique(b"mine")

    with pytest.raises(grpc.RpcError) as caught:
        write(service, stub, messages(name_of(data, tenant="other"), data))

    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_blob_that_is_stored_but_was_not_sent_is_not_told(service: Served) -> None:
    data = unique(b"of somebody else")
    path = service.config.data_dir / "sha256" / sha256(data)[:2] / sha256(data)
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(data)

    with service.client() as client, pytest.raises(ArtifactMissingError):
        client.get_blob(sha256(data), size=len(data))


def test_too_large_a_blob_is_refused(service: Served, stub: BlobServiceStub) -> None:
    name = name_of(DATA, size=64 * MEBIBYTE + 1)

    with pytest.raises(grpc.RpcError) as caught:
        write(service, stub, iter([blob_pb2.WriteBlobRequest(resource_name=str(name))]))

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_too_large_a_part_is_refused(service: Served, stub: BlobServiceStub) -> None:
    name = name_of(DATA)
    message = blob_pb2.WriteBlobRequest(resource_name=str(name), data=DATA[: MEBIBYTE + 1])

    with pytest.raises(grpc.RpcError) as caught:
        write(service, stub, iter([message]))

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_read_of_a_range(service: Served, stub: BlobServiceStub) -> None:
    data = unique()
    with service.client() as client:
        digest = client.push_blob(data)
    request = blob_pb2.ReadBlobRequest(
        name=f"tenants/default/blobs/{digest}/{len(data)}", read_offset=100, read_limit=MEBIBYTE + 5
    )

    parts = [part.data for part in stub.ReadBlob(request, metadata=service.metadata, timeout=30)]

    assert b"".join(parts) == data[100 : 100 + MEBIBYTE + 5]


def test_damaged_blob_is_data_loss_and_can_be_sent_again(service: Served) -> None:
    data = unique()
    with service.client() as client:
        digest = client.push_blob(data)
        path = service.config.data_dir / "sha256" / digest[:2] / digest
        path.chmod(0o640)
        path.write_bytes(b"!" + data[1:])

        with pytest.raises(ArtifactDigestError):
            client.get_blob(digest, size=len(data))
        client.push_blob(data)

        assert client.get_blob(digest, size=len(data)) == data
    assert service.metric("stageaudit_blob_corruptions_total") == 1


def test_upload_survives_a_restart(tmp_path: Path) -> None:
    data = unique()
    name = name_of(data)
    with served(tmp_path) as first, first.channel() as channel, pytest.raises(grpc.RpcError):
        write(first, BlobServiceStub(channel), messages(name, data, end=2 * MEBIBYTE))

    with served(tmp_path) as second, second.channel() as channel:
        stub = BlobServiceStub(channel)
        assert status_of(second, stub, name).committed_size == 2 * MEBIBYTE
        assert write(second, stub, messages(name, data, offset=2 * MEBIBYTE)) == len(data)


def test_file_that_is_not_there_is_an_input_error(service: Served, tmp_path: Path) -> None:
    with service.client() as client, pytest.raises(InputError, match="gone"):
        client.push_blob(tmp_path / "gone")


def test_uploads_are_counted(service: Served) -> None:
    before = service.metric('stageaudit_blob_bytes_total{direction="received"}')
    with service.client() as client:
        client.push_blob(unique(b"12345678"))

    received = service.metric('stageaudit_blob_bytes_total{direction="received"}') - before
    assert received == 24
    assert service.metric("stageaudit_uploads_active") == 0


def test_limit_of_open_uploads_is_told_with_a_time_to_wait(tmp_path: Path) -> None:
    limits = Limits(uploads_open=1)
    with served(tmp_path, limits=limits) as service, service.channel() as channel:
        stub = BlobServiceStub(channel)
        with pytest.raises(grpc.RpcError):
            write(service, stub, messages(name_of(DATA), DATA, end=MEBIBYTE))

        other = Digest(sha256(b"other"))
        name = UploadName(tenant="default", upload=str(uuid.uuid4()), digest=other, size=5)
        with pytest.raises(grpc.RpcError) as caught:
            write(service, stub, messages(name, b"other"))

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
