"""A service replays the logs that it holds, and refuses those that contradict themselves."""

import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc

from auditor.errors import ArtifactMissingError, InputError, PreconditionError
from auditor.stagelog.digest import Digest
from service.cli.main import run as run_command
from service.executors.local import DEFAULT_ENGINE
from service.pb.v1 import stage_log_pb2
from tests.support.builders import RecordedRun, make_stage_log
from tests.support.fake_engine import ENDLESS
from tests.support.forgery import with_columns
from tests.support.job_service import make_request, push_run
from tests.support.refusals import write_folder
from tests.support.served import Served, served
from tests.support.server_process import server_process


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served"), engine=DEFAULT_ENGINE) as running:
        yield running


@dataclass(frozen=True, kw_only=True)
class Logs:
    """A log, and the same one with one learning rate changed."""

    honest: RecordedRun
    forged: RecordedRun
    root: Path

    def folder(self, kind: str) -> Path:
        return self.root / kind


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Logs:
    root = tmp_path_factory.mktemp("logs")
    honest = make_stage_log(stages=2, steps=3, optimizer="momentum", folder=root / "honest")

    def change(columns: dict[str, np.ndarray]) -> None:
        columns["lr"][1, 0] *= 1.5

    forged = with_columns(honest, 1, change)
    write_folder(forged, root / "forged")
    return Logs(honest=honest, forged=forged, root=root)


Capture = pytest.CaptureFixture[str]


def typed(capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run_command(arguments)
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


@pytest.mark.parametrize("kind", ["honest", "forged"])
def test_service_says_what_the_local_check_says(
    service: Served, logs: Logs, kind: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = logs.folder(kind)
    monkeypatch.setenv("STAGEAUDIT_TOKEN", service.token)
    there = ("--server", service.address.address)

    here = typed(capsys, "log", "check", str(folder), "--replay", "--json")
    remote = typed(capsys, "log", "check", str(folder), *there, "--json")

    assert here[0] == remote[0] == (0 if kind == "honest" else 1)
    assert json.loads(remote[1]) == json.loads(here[1])


def test_people_read_the_same_lines(
    service: Served, logs: Logs, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGEAUDIT_TOKEN", service.token)

    code, out, _ = typed(
        capsys, "log", "check", str(logs.folder("forged")), "--server", service.address.address
    )

    assert code == 1
    assert "inconsistent: replay" in out
    assert "first in steps 3 to 5" in " ".join(out.split())
    assert "refuses audits" in out


def test_a_log_that_fails_is_unusable_and_says_why(service: Served, logs: Logs) -> None:
    forged, folder = logs.forged, logs.folder("forged")
    with service.client() as client:
        push_run(client, forged, folder)
        (*_, last) = client.watch_check(client.check_log(forged.digest))
        log = client.get_log(forged.digest)
        audits = client.list_audits()

        with pytest.raises(PreconditionError) as refused:
            client.create_audit(make_request(forged))

    assert last.verdict is not None
    assert last.verdict.consistent is False
    assert log["state"] == "unusable"
    assert "first in steps 3 to 5" in log["causes"][0]
    assert log["causes"][0] in refused.value.remedy
    assert audits == []  # a check is no audit


def test_a_log_that_holds_is_consistent_and_a_sample_is_silent(service: Served, logs: Logs) -> None:
    honest, folder = logs.honest, logs.folder("honest")
    with service.client() as client:
        push_run(client, honest, folder)
        before = client.get_log(honest.digest)["state"]
        for _ in client.watch_check(client.check_log(honest.digest, sample=0.5, seed=3)):
            pass
        sampled = client.get_log(honest.digest)["state"]
        (*_, last) = client.watch_check(client.check_log(honest.digest))
        after = client.get_log(honest.digest)["state"]

    assert sampled == before
    assert after == "consistent"
    assert last.done == last.total == 2


def test_a_request_id_names_one_check_and_an_operation_is_no_audit(
    service: Served, logs: Logs
) -> None:
    honest, folder = logs.honest, logs.folder("honest")
    with service.client() as client:
        push_run(client, honest, folder)
        identity = str(uuid.uuid4())
        first = client.check_log(honest.digest, request_id=identity)
        again = client.check_log(honest.digest, request_id=identity)
        for _ in client.watch_check(first):
            pass
        audit = first.replace("operations", "audits")
        with pytest.raises(ArtifactMissingError):
            client.get_audit(audit)
        with pytest.raises(ArtifactMissingError):
            next(client.watch_audit(audit))
    with service.channel() as channel:
        stub = operations_pb2_grpc.OperationsStub(channel)
        listed = stub.ListOperations(
            operations_pb2.ListOperationsRequest(name="tenants/default"), metadata=service.metadata
        )

    names = {operation.name: operation for operation in listed.operations}
    assert first == again
    response = stage_log_pb2.CheckStageLogResponse()
    assert names[first].response.Unpack(response)
    assert response.consistent


def test_what_cannot_be_checked_is_refused(service: Served, logs: Logs) -> None:
    honest, folder = logs.honest, logs.folder("honest")
    with service.client() as client:
        push_run(client, honest, folder)
        with pytest.raises(ArtifactMissingError):
            client.check_log(Digest("0" * 64))
        with pytest.raises(InputError) as caught:
            client.check_log(honest.digest, sample=1.5)

    assert caught.value.where == "sample"


def test_ctrl_c_cancels_the_check(tmp_path: Path) -> None:
    run = make_stage_log(folder=tmp_path / "log")
    with served(tmp_path / "data", engine=ENDLESS) as service, service.client() as client:
        client.push_log(tmp_path / "log")
        command = [
            sys.executable, "-m", "service.cli.main", "log", "check", run.digest,
            "--server", service.address.address,
        ]  # fmt: skip
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={"STAGEAUDIT_TOKEN": service.token, "PYTHONPATH": ":".join(sys.path)},
        ) as process:  # fmt: skip
            assert process.stderr is not None
            name = process.stderr.readline().split()[2].rstrip(";")
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=60)[1]
        with service.channel() as channel:
            stub = operations_pb2_grpc.OperationsStub(channel)
            request = operations_pb2.GetOperationRequest(name=name)
            operation = stub.GetOperation(request, metadata=service.metadata)
        state = client.get_log(run.digest)["state"]

    assert process.returncode == 130, said
    assert operation.done
    assert operation.error.code == grpc.StatusCode.CANCELLED.value[0]
    assert state == "unchecked"


def test_a_check_survives_sigkill_of_the_server(tmp_path: Path) -> None:
    run = make_stage_log(folder=tmp_path / "log")
    with server_process(tmp_path / "data") as server, server.client() as client:
        client.push_log(tmp_path / "log")
        name = client.check_log(run.digest)
        server.kill()

    with server_process(tmp_path / "data") as server, server.client() as client:
        (*_, last) = client.watch_check(name)
        state = client.get_log(run.digest)["state"]

    assert last.verdict is not None
    assert state == "consistent"
