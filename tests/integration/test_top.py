"""``stageaudit top`` and the time left, against a real service whose audit runs until cancelled."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from service.cli.main import run
from service.client import Client
from tests.support.builders import make_stage_log
from tests.support.fake_engine import ENDLESS
from tests.support.job_service import make_request, push_run
from tests.support.served import Served, served

pytestmark = pytest.mark.slow

OTHER = "team-b"
OTHER_TOKEN = "sa_of_team_b_for_tests"  # noqa: S105 - made up
MINE = "sa_of_the_operator_for_tests"
PATIENCE_SECONDS = 60.0
# A program whose controlling terminal is its standard input, so that Ctrl-C reaches it.
OWN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)
SECOND_SCREEN, FIRST_SCREEN = b"\x1b[?1049h", b"\x1b[?1049l"


@dataclass(frozen=True)
class Running:
    """A service with one audit on its device."""

    service: Served
    audit: str

    def command(self, *arguments: str) -> list[str]:
        program = [sys.executable, "-m", "service.cli.main"]
        return [*program, *arguments, "--server", self.service.address.address]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("top")
    data = folder / "data"
    data.mkdir()
    (data / "token").write_text(f"{MINE}\n{OTHER_TOKEN} {OTHER} 2\n")
    (data / "token").chmod(0o600)
    recorded = make_stage_log(folder=folder / "log")
    with (
        served(data, engine=ENDLESS) as service,
        Client(service.address.address, token=MINE) as client,
    ):
        push_run(client, recorded, folder / "log")
        audit = client.create_audit(make_request(recorded))
        events = client.watch_audit(audit)
        # The first estimate comes with the first steps after the queue was counted.
        while "seconds_left" not in next(events).get("progress", {}):
            pass
        yield Running(service=service, audit=audit)
        client.cancel(audit)


Type = Callable[..., Mapping[str, Any]]


@pytest.fixture
def typed(
    running: Running, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Type:
    def typed(*arguments: str, token: str = MINE) -> Mapping[str, Any]:
        monkeypatch.setenv("STAGEAUDIT_TOKEN", token)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run([*arguments, "--json", "--server", running.service.address.address])
        assert not ended.value.code
        answer: Mapping[str, Any] = json.loads(capsys.readouterr().out)
        return answer

    return typed


def test_top_shows_the_audit_that_runs(typed: Type) -> None:
    status = typed("top", "--once")

    started = [group for group in status["groups"] if group["started"]]
    assert status["all_tenants"]
    assert [group["device"] for group in started] == ["cpu"]
    assert started[0]["tenants"] == [{"tenant": "default", "lanes": started[0]["lanes"]}]
    assert 0 < started[0]["done_steps"] <= started[0]["total_steps"] == 10_000
    assert started[0]["seconds_left"] > 0
    assert status["lanes"]["running_lanes"] == started[0]["lanes"]
    assert [device["state"] for device in status["devices"]] == ["busy"]
    assert status["devices"][0]["busy_share"] > 0
    assert [row["priority"] for row in status["queue"]] == ["batch", "normal", "gate"]
    tenants = {row["tenant"]: row for row in status["tenants"]}
    assert tenants["default"]["running_lanes"] == started[0]["lanes"]
    assert tenants["default"]["device_share"] == 1.0
    assert tenants[OTHER]["weight"] == 2.0


def test_top_shows_another_tenant_totals_and_nothing_of_others(typed: Type) -> None:
    status = typed("top", "--once", token=OTHER_TOKEN)

    assert not status["all_tenants"]
    assert status["groups"] == []
    assert [row["tenant"] for row in status["tenants"]] == [OTHER]
    assert status["lanes"]["running_lanes"] > 0
    assert status["devices"][0]["state"] == "busy"
    assert "default" not in json.dumps(status)


def test_watch_once_says_where_the_audit_stands(typed: Type, running: Running) -> None:
    audit = typed("watch", running.audit, "--once")

    assert audit["state"] == "running"
    assert audit["progress"]["seconds_left"] > 0
    assert audit["progress"]["seconds_left_at_least"]  # nothing like it has been computed yet


def test_events_say_how_long_it_will_take(running: Running) -> None:
    with Client(running.service.address.address, token=MINE) as client:
        events = client.watch_audit(running.audit)
        told = next(e for e in events if "seconds_left" in e.get("progress", {}))

    assert told["progress"]["seconds_left"] > 0


def test_top_streams_a_document_a_line_until_interrupted(running: Running) -> None:
    with subprocess.Popen(
        running.command("top", "--json", "--interval", "0.1"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"STAGEAUDIT_TOKEN": MINE},
    ) as process:
        try:
            assert process.stdout is not None
            read = [json.loads(process.stdout.readline()) for _ in range(2)]
            process.send_signal(signal.SIGINT)
            code = process.wait(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()

    assert read[0]["status_time"] < read[1]["status_time"]
    assert code == 0


@pytest.mark.parametrize("end", [b"q", b"\x03"], ids=["q", "ctrl-c"])
def test_live_table_is_redrawn_and_ends_with_the_terminal_as_it_was(
    running: Running, end: bytes
) -> None:
    ours, theirs = pty.openpty()
    environment = os.environ | {"STAGEAUDIT_TOKEN": MINE, "TERM": "xterm-256color"}
    try:
        with subprocess.Popen(
            [sys.executable, "-c", OWN_TERMINAL, *running.command("top", "--interval", "0.1")],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
        ) as process:
            os.close(theirs)
            try:
                shown = _read_until(ours, b"QUEUE", times=3)
                os.write(ours, end)
                shown += _read_until(ours, FIRST_SCREEN, times=1)
                code = process.wait(timeout=PATIENCE_SECONDS)
            finally:
                process.kill()
    finally:
        os.close(ours)

    assert code == 0
    assert shown.startswith(SECOND_SCREEN)
    assert b"TENANT" in shown
    assert b"Traceback" not in shown


def _read_until(terminal: int, text: bytes, *, times: int) -> bytes:
    """Return what a terminal shows until a text has come so many times."""
    shown = b""
    while shown.count(text) < times:
        readable, _, _ = select.select([terminal], [], [], PATIENCE_SECONDS)
        assert readable, shown
        shown += os.read(terminal, 65536)
    return shown
