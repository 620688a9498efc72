"""The edge of the real server: identity, errors, metrics, health, logs, models, pages."""

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import onnx
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from safetensors.numpy import save

from auditor.edge.folder import FolderBlobs, write_log
from auditor.errors import (
    ArtifactMissingError,
    AuthenticationError,
    ConflictError,
    InputError,
    PreconditionError,
    ResourceError,
    StageLogError,
    UnavailableError,
    UnsupportedError,
)
from auditor.stagelog.digest import Digest, canonical_bytes
from service.channel import Connection
from service.client import Client
from service.config import Limits
from service.pb.v1 import model_pb2, report_pb2, stage_log_pb2
from service.pb.v1.model_service_pb2_grpc import ModelServiceStub
from service.pb.v1.stage_log_service_pb2_grpc import StageLogServiceStub
from tests.support.builders import RecordedRun, make_stage_log
from tests.support.served import Served, served

PARENT = "tenants/default"


@pytest.fixture(scope="module")
def log_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recorded") / "log"


@pytest.fixture(scope="module")
def run(log_folder: Path) -> RecordedRun:
    return make_stage_log(stages=2, steps=2, folder=log_folder)


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


def rejected(call: grpc.RpcError) -> error_details_pb2.ErrorInfo:
    """Return the ErrorInfo of a failed call."""
    status = rpc_status.from_call(call)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info


@pytest.mark.parametrize("token", [None, "sa_wrong"])
def test_calls_without_the_token_are_refused(service: Served, token: str | None) -> None:
    with Connection(service.address.address, token=token) as connection:
        request = model_pb2.ListModelsRequest(parent=PARENT)

        with pytest.raises(AuthenticationError, match="token"):
            connection.call(connection.models.ListModels, request)


def test_health_needs_no_token(service: Served) -> None:
    with service.channel() as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), timeout=10
        )

    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_error_carries_reason_domain_and_request_id(service: Served) -> None:
    with service.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        StageLogServiceStub(channel).GetStageLog(
            stage_log_pb2.GetStageLogRequest(name="tenants/default/stageLogs/x"),
            metadata=(*service.metadata, ("x-request-id", "my-request-7")),
            timeout=10,
        )

    info = rejected(caught.value)
    assert (info.domain, info.reason) == ("stageaudit.dev", "INVALID_INPUT")
    assert info.metadata["request_id"] == "my-request-7"
    assert info.metadata["where"] == "name"


def test_unknown_method_is_unimplemented(service: Served) -> None:
    with service.channel() as channel:
        method = channel.unary_unary("/stageaudit.v1.BlobService/Nothing")

        with pytest.raises(grpc.RpcError) as caught:
            method(b"", metadata=service.metadata, timeout=10)

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_nobody_at_the_address_is_unavailable() -> None:
    with Connection("127.0.0.1:1", token=None) as connection:
        request = model_pb2.ListModelsRequest(parent=PARENT)

        with pytest.raises(UnavailableError, match="stageaudit serve"):
            connection.once(connection.models.ListModels, request, seconds=10)


def test_log_is_pushed_found_listed_and_deleted(
    client: Client, connection: Connection, log_folder: Path, run: RecordedRun
) -> None:
    digest = client.push_log(log_folder)

    assert digest == run.digest
    (listed,) = client.list_logs()
    assert listed["name"] == f"tenants/default/stageLogs/{digest}"
    assert listed["stages"] == ["stage0", "stage1"]
    assert (listed["steps"], listed["level"]) == (4, 2)
    assert listed["size_bytes"] > sum(run.blobs.size(Digest(d)) for d in run.log.blobs())
    assert client.push_log(log_folder) == digest  # the same content is the same log

    request = stage_log_pb2.DeleteStageLogRequest(name=listed["name"])
    connection.call(connection.stage_logs.DeleteStageLog, request)
    assert client.list_logs() == []
    get = stage_log_pb2.GetStageLogRequest(name=listed["name"])
    with pytest.raises(ArtifactMissingError):
        connection.call(connection.stage_logs.GetStageLog, get)


def test_log_with_blobs_that_were_not_sent_names_them(
    client: Client, connection: Connection, run: RecordedRun
) -> None:
    log = run.log.model_copy(
        update={"start": run.log.start.model_copy(update={"parameters": "e" * 64})}
    )
    digest = client.push_blob(canonical_bytes(log))
    request = stage_log_pb2.CreateStageLogRequest(parent=PARENT, manifest_digest=digest)

    with pytest.raises(PreconditionError, match="missing") as caught:
        connection.call(connection.stage_logs.CreateStageLog, request)

    assert caught.value.code == "BLOBS_MISSING"


def test_log_that_was_never_sent_is_a_missing_blob(connection: Connection) -> None:
    request = stage_log_pb2.CreateStageLogRequest(parent=PARENT, manifest_digest="d" * 64)

    with pytest.raises(PreconditionError):
        connection.call(connection.stage_logs.CreateStageLog, request)


@pytest.mark.parametrize(
    ("manifest", "where"),
    [
        (b"{", "stagelog.json"),
        (b"[" * 100_000, "stagelog.json"),
        (b'{"a":1,"a":2}', "stagelog.json"),
        (b'{"schema":"stageaudit.stagelog.v9"}', "schema"),
    ],
    ids=["cut", "deep", "duplicate", "version"],
)
def test_bytes_that_are_no_manifest_are_refused(
    client: Client, connection: Connection, manifest: bytes, where: str
) -> None:
    digest = client.push_blob(manifest)
    request = stage_log_pb2.CreateStageLogRequest(parent=PARENT, manifest_digest=digest)

    with pytest.raises((StageLogError, UnsupportedError), match=where):
        connection.call(connection.stage_logs.CreateStageLog, request)

    assert client.list_logs() == []


def test_reformatted_manifest_is_refused(
    client: Client, connection: Connection, run: RecordedRun
) -> None:
    pretty = json.dumps(json.loads(canonical_bytes(run.log)), indent=1).encode()
    digest = client.push_blob(pretty)
    request = stage_log_pb2.CreateStageLogRequest(parent=PARENT, manifest_digest=digest)

    with pytest.raises(InputError, match="canonical"):
        connection.call(connection.stage_logs.CreateStageLog, request)


def test_log_whose_blobs_contradict_it_is_refused(
    client: Client, log_folder: Path, run: RecordedRun, tmp_path: Path
) -> None:
    folder = tmp_path / "log"
    shutil.copytree(log_folder, folder)
    other = FolderBlobs(folder / "blobs").write(save({"x": np.zeros(3)}))
    stage = run.log.stages[-1]
    last = stage.checkpoints[-1].model_copy(update={"parameters": other})
    changed = stage.model_copy(update={"checkpoints": (*stage.checkpoints[:-1], last)})
    write_log(folder, run.log.model_copy(update={"stages": (*run.log.stages[:-1], changed)}))

    with pytest.raises(InputError, match="checkpoint"):
        client.push_log(folder)

    assert client.list_logs() == []


def test_evaluation_set_is_pushed(
    client: Client, log_folder: Path, run: RecordedRun, tmp_path: Path
) -> None:
    (tmp_path / "evalset.json").write_bytes(bytes(run.blobs.read(run.evaluation)))
    shutil.copytree(log_folder / "blobs", tmp_path / "blobs")

    assert client.push_evaluation_set(tmp_path) == run.evaluation


def test_folder_without_an_evaluation_set_is_refused(client: Client, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"evalset\.json"):
        client.push_evaluation_set(tmp_path)


def test_safetensors_model_is_registered(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(save({"a": np.zeros((3, 4)), "b": np.zeros(2)}))

    digest = client.push_model(path)

    model = next(m for m in client.list_models() if m["name"].endswith(digest))
    assert (model["format"], model["tensors"], model["elements"]) == ("safetensors", 2, 14)
    assert model["size_bytes"] == path.stat().st_size


def test_onnx_model_is_registered(client: Client, tmp_path: Path) -> None:
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Gemm", ["x", "weight", "bias"], ["y"], name="linear")],
        "linear",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 2])],
        initializer=[
            onnx.numpy_helper.from_array(np.zeros((3, 2), np.float32), "weight"),
            onnx.numpy_helper.from_array(np.zeros(2, np.float32), "bias"),
        ],
    )
    path = tmp_path / "model.onnx"
    onnx.save(onnx.helper.make_model(graph), path)

    digest = client.push_model(path)

    model = next(m for m in client.list_models() if m["name"].endswith(digest))
    assert (model["format"], model["elements"]) == ("onnx", 8)


@pytest.mark.parametrize("name", ["model.safetensors", "model.onnx"])
def test_file_that_is_no_model_is_refused(client: Client, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\xff" * 100)

    with pytest.raises((InputError, ResourceError)):
        client.push_model(path)


def test_request_id_is_good_for_one_request(client: Client, connection: Connection) -> None:
    first, second = (client.push_blob(save({"x": np.full(1, value)})) for value in (1.0, 2.0))
    request = model_pb2.CreateModelRequest(
        parent=PARENT,
        digest=first,
        format=model_pb2.MODEL_FORMAT_SAFETENSORS,
        request_id=str(uuid.uuid4()),
    )
    once = connection.call(connection.models.CreateModel, request)

    again = connection.call(connection.models.CreateModel, request)
    request.digest = second
    with pytest.raises(ConflictError) as caught:
        connection.call(connection.models.CreateModel, request)

    assert again == once
    assert caught.value.code == "REQUEST_ID_REUSED"


def test_pages_hold_every_row_once_newest_first(client: Client, connection: Connection) -> None:
    for value in range(3):
        digest = client.push_blob(save({"page": np.full(2, value)}))
        request = model_pb2.CreateModelRequest(
            parent=PARENT, digest=digest, format=model_pb2.MODEL_FORMAT_SAFETENSORS
        )
        connection.call(connection.models.CreateModel, request)
    whole = [model["name"] for model in client.list_models()]

    names: list[str] = []
    listing = model_pb2.ListModelsRequest(parent=PARENT, page_size=2)
    while not names or listing.page_token:
        answer = connection.call(connection.models.ListModels, listing)
        assert len(answer.models) <= 2
        names += [model.name for model in answer.models]
        listing.page_token = answer.next_page_token

    assert names == whole
    assert len(set(names)) == len(names) >= 3


def test_page_token_of_another_list_is_refused(client: Client, connection: Connection) -> None:
    listing = model_pb2.ListModelsRequest(parent=PARENT, page_size=1)
    token = connection.call(connection.models.ListModels, listing).next_page_token
    assert token

    logs = stage_log_pb2.ListStageLogsRequest(parent=PARENT, page_token=token)
    with pytest.raises(InputError, match="page_token"):
        connection.call(connection.stage_logs.ListStageLogs, logs)


def test_negative_page_size_is_refused(connection: Connection) -> None:
    with pytest.raises(InputError, match="page_size"):
        connection.call(
            connection.models.ListModels, model_pb2.ListModelsRequest(parent=PARENT, page_size=-1)
        )


def test_unknown_report_is_missing(client: Client, connection: Connection) -> None:
    with pytest.raises(ArtifactMissingError):
        client.get_report("f" * 64)
    other = report_pb2.ListReportsRequest(parent="tenants/other")
    with pytest.raises(ArtifactMissingError):
        connection.call(connection.reports.ListReports, other)
    assert client.list_reports() == []


def test_calls_are_counted_by_code(service: Served, connection: Connection) -> None:
    handled = (
        'grpc_server_handled_total{grpc_code="NOT_FOUND",grpc_method="GetModel",'
        'grpc_service="stageaudit.v1.ModelService",grpc_type="unary_unary"}'
    )
    before = service.metric(handled)

    request = model_pb2.GetModelRequest(name=f"tenants/default/models/{'f' * 64}")
    with pytest.raises(ArtifactMissingError):
        connection.call(connection.models.GetModel, request)

    assert service.reaches(handled, before + 1)


def test_refused_callers_are_counted(service: Served) -> None:
    sample = 'stageaudit_auth_failures_total{reason="none"}'
    before = service.metric(sample)
    with service.channel() as channel, pytest.raises(grpc.RpcError):
        ModelServiceStub(channel).ListModels(model_pb2.ListModelsRequest(parent=PARENT), timeout=10)

    assert service.metric(sample) == before + 1


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/livez", "GET", 200),
        ("/readyz", "GET", 200),
        ("/metrics?x=1", "GET", 200),
        ("/metrics", "HEAD", 200),
        ("/", "GET", 404),
        ("/metrics", "POST", 405),
    ],
)
def test_http_pages(service: Served, path: str, method: str, status: int) -> None:
    assert service.page(path, method=method)[0] == status


def test_metrics_say_that_the_service_is_ready(service: Served) -> None:
    assert service.metric("stageaudit_ready") == 1
    assert service.metric('stageaudit_store_free_bytes{store="blobs"}') > 0


def test_parser_that_needs_too_much_memory_is_stopped(tmp_path: Path) -> None:
    limits = Limits(parse_address_space_bytes=1)
    with served(tmp_path, limits=limits) as service, service.client() as client:
        path = tmp_path / "model.safetensors"
        path.write_bytes(save({"a": np.zeros(3)}))

        with pytest.raises((InputError, ResourceError)):
            client.push_model(path)

        assert client.list_models() == []


def test_parser_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    limits = Limits(parse_wall_seconds=0)
    with served(tmp_path, limits=limits) as service, service.client() as client:
        path = tmp_path / "model.safetensors"
        path.write_bytes(save({"a": np.zeros(3)}))

        with pytest.raises(ResourceError, match="time"):
            client.push_model(path)

        assert service.metric('stageaudit_sandbox_kills_total{limit="time"}') == 1


def test_call_without_a_deadline_ends_in_time(tmp_path: Path) -> None:
    request = model_pb2.ListModelsRequest(parent=PARENT)
    with (
        served(tmp_path, limits=Limits(call_seconds=0)) as service,
        service.channel() as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        ModelServiceStub(channel).ListModels(request, metadata=service.metadata)

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_every_token_opens_its_own_tenant(tmp_path: Path) -> None:
    mine, theirs = "sa_" + "m" * 20, "sa_" + "t" * 20
    token_file = tmp_path / "token"
    token_file.write_text(f"{mine}\n{theirs} team-b 2\n")
    with served(tmp_path) as service:
        address = service.address.address
        with Client(address, token=theirs, tenant="team-b") as client:
            assert client.list_logs() == []
        with (
            Client(address, token=mine, tenant="team-b") as client,
            pytest.raises(ArtifactMissingError, match="a resource of your tenant"),
        ):
            client.list_logs()
