"""Two real services on one PostgreSQL: one is killed; the database goes away and comes back."""

import shutil
import time
import uuid
from pathlib import Path

import pytest

from auditor.errors import UnavailableError
from service.client import Client
from tests.support.builders import make_stage_log
from tests.support.job_service import make_request, push_run
from tests.support.postgres import PostgresServer
from tests.support.served import PATIENCE_SECONDS, Served, served
from tests.support.server_process import ServerProcess, server_process

LEASE_SECONDS = 2


def write_settings(path: Path, *, url: str, blobs: Path) -> Path:
    path.write_text(
        f'records_url = "{url}"\nblobs_dir = "{blobs}"\nlease_seconds = {LEASE_SECONDS}\n'
        "heartbeat_seconds = 0.5\n"
    )
    return path


def share_secrets(first: Path, second: Path) -> Path:
    """Give a second data folder the token and the key of the first."""
    second.mkdir()
    shutil.copy2(first / "token", second / "token")
    shutil.copytree(first / "keys", second / "keys")
    return second


def states(client: Client, names: list[str]) -> list[str]:
    return [client.wait(name)["state"] for name in names]


@pytest.mark.slow
def test_audits_of_a_killed_front_end_are_finished_by_the_other(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    log_folder, first_dir = tmp_path / "log", tmp_path / "first"
    run = make_stage_log(folder=log_folder)
    settings = write_settings(tmp_path / "s.toml", url=postgres.clean(), blobs=tmp_path / "blobs")
    requests = [make_request(run, seed=seed) for seed in range(2)]
    request_ids = [str(uuid.uuid4()) for _ in requests]

    def submit(server: ServerProcess) -> list[str]:
        with server.client() as client:
            return [
                client.create_audit(request, request_id=request_id)
                for request, request_id in zip(requests, request_ids, strict=True)
            ]

    with server_process(first_dir, "--config", str(settings)) as first:
        with first.client() as client:
            push_run(client, run, log_folder)
        second_dir = share_secrets(first_dir, tmp_path / "second")
        with (
            server_process(second_dir, "--config", str(settings)) as second,
            second.client() as client,
        ):
            names = submit(first)
            again = submit(second)
            watched = client.watch_audit(names[-1])
            seen = next(watched)["state"]
            first.kill()
            ended = states(client, names)
            rest = [event["state"] for event in watched]
            reports = client.list_reports()
            status = second.terminate()

    assert again == names
    assert seen in {"planned", "running"}
    assert ended == ["succeeded"] * len(names)
    assert rest[-1] == "succeeded"
    assert sorted(report["audit"] for report in reports) == sorted(names)
    assert status == 0


def becomes(service: Served, *, ready: bool) -> bool:
    """Say whether the service gets ready, or stops being so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if (service.page("/readyz")[0] == 200) is ready:
            return True
    return False


@pytest.mark.slow
def test_a_service_outlives_its_database(tmp_path: Path, postgres: PostgresServer) -> None:
    url = postgres.clean()
    with served(tmp_path / "data", records_url=url) as service, service.client() as client:
        assert client.list_audits() == []

        postgres.take_away(url)
        assert becomes(service, ready=False)
        alive = service.page("/livez")[0]
        with pytest.raises(UnavailableError):
            client.list_audits()
        postgres.bring_back(url)

        assert becomes(service, ready=True)
        assert client.list_audits() == []
    assert alive == 200
