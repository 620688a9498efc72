"""Commands against a real service and a real log, as a user types them."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from service.cli.main import run
from service.config import config_folder
from service.demo.embedded import Embedded, embedded_service
from tests.support.recorded_log import write_recorded_data, write_recorded_log

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Work:
    """A folder with a log, data, a model and a request."""

    root: Path

    def path(self, name: str) -> str:
        return str(self.root / name)


@dataclass(frozen=True)
class Said:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    root = tmp_path_factory.mktemp("work")
    model = write_recorded_log(root / "log")
    save_file(model.state_dict(), root / "model.safetensors")
    for name, seed in (("heldout", 100), ("clean", 101)):
        write_recorded_data(root / name, seed=seed)
    (root / "request.yaml").write_text(
        "log: log\n"
        "model: model.safetensors\n"
        "queries:\n"
        "  - {name: loss, kind: loss, better: lower, data: heldout}\n"
        "interventions:\n"
        "  - {kind: skip, stage: base}\n"
        "  - {kind: replace, stage: base, reference: {data: clean}}\n"
        "  - {kind: drop, stage: tune, where: {source: vendor}}\n"
    )
    return Work(root=root)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    with embedded_service(tmp_path_factory.mktemp("service") / "data") as embedded:
        yield embedded


Type = Callable[..., Said]


@pytest.fixture
def type_(capsys: pytest.CaptureFixture[str]) -> Type:
    def typed(*arguments: str) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run(arguments)
        said = capsys.readouterr()
        return Said(code=int(ended.value.code or 0), out=said.out, err=said.err)

    return typed


@pytest.fixture
def at_service(service: Embedded) -> Iterator[Embedded]:
    """A service that commands find by the user's client.toml."""
    settings = config_folder() / "client.toml"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(
        f'server = "{service.address}"\ntoken_file = "{service.data_dir / "token"}"\n'
    )
    yield service
    settings.unlink()


def values(said: Said) -> dict[str, float]:
    return {effect["intervention"]: effect["value"] for effect in said.json["effects"]}


def test_local_audit_prints_a_report_and_says_that_it_is_unsigned(type_: Type, work: Work) -> None:
    said = type_("audit", work.path("request.yaml"), "--local", work.path("log"), "--replicas", "2")

    assert said.code == 0, said.err
    assert "skip base" in said.out
    assert "drop tune" in said.out
    assert "unsigned" in said.err


def test_local_and_remote_audits_give_the_same_figures(
    type_: Type, work: Work, at_service: Embedded, tmp_path: Path
) -> None:
    here = type_(
        "audit", work.path("request.yaml"), "--local", work.path("log"), "--replicas", "2", "--json"
    )
    there = type_(
        "audit", work.path("request.yaml"), "--replicas", "2", "--json",
        "-o", str(tmp_path / "report.json"),
    )  # fmt: skip

    assert (here.code, there.code) == (0, 0), here.err + there.err
    assert values(there) == pytest.approx(values(here), rel=1e-4, abs=1e-6)
    assert (tmp_path / "report.json").is_file()


def test_report_of_a_service_verifies_lists_and_shows(
    type_: Type, work: Work, at_service: Embedded, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    made = type_("audit", work.path("request.yaml"), "--replicas", "2", "-o", str(report), "--json")

    verified = type_(
        "verify", str(report), work.path("log/stagelog.json"), work.path("model.safetensors"),
        "--key", str(at_service.data_dir / "keys" / "signing.pub.pem"), "--json",
    )  # fmt: skip
    listed = type_("report", "list", "--json")
    digest = verified.json["report_id"]
    shown = type_("report", "show", digest, "--json")
    got = type_("report", "get", digest, "-o", str(tmp_path / "again.json"), "--json")

    assert [said.code for said in (made, verified, listed, shown, got)] == [0] * 5
    assert digest in [row["report"] for row in listed.json["reports"]]
    assert shown.json == made.json
    assert (tmp_path / "again.json").read_bytes() == report.read_bytes()


def test_push_is_idempotent(type_: Type, work: Work, at_service: Embedded) -> None:
    paths = [work.path(name) for name in ("log", "heldout", "model.safetensors")]

    first, second = type_("push", *paths, "--json"), type_("push", *paths, "--json")

    assert (first.code, second.code) == (0, 0), first.err
    assert first.json == second.json
    assert [item["kind"] for item in first.json["pushed"]] == ["log", "evaluation set", "model"]


def test_detached_audit_is_watched_later(
    type_: Type, work: Work, at_service: Embedded, tmp_path: Path
) -> None:
    asked = type_("audit", work.path("request.yaml"), "--seed", "5", "--detach", "--json")

    watched = type_("watch", asked.json["audit"], "-o", str(tmp_path / "r.json"), "--json")

    assert (asked.code, watched.code) == (0, 0), watched.err
    assert len(watched.json["effects"]) == 3


def test_plan_computes_nothing_and_knows_what_is_cached(
    type_: Type, work: Work, at_service: Embedded
) -> None:
    arguments = ("audit", work.path("request.yaml"), "--replicas", "2", "--seed", "9")
    before = type_(*arguments, "--plan", "--json")
    done = type_(*arguments, "--json")
    after = type_(*arguments, "--plan", "--json")

    assert (before.code, done.code, after.code) == (0, 0, 0), before.err
    assert before.json["actions_to_run"] > 0
    assert before.json["complete"]
    assert after.json["gradient_examples"] == "0"
    assert {query["basis"] for query in before.json["queries"]} == {"unknown"}
    assert "detectable_effect" not in before.json["queries"][0]
    assert {query["basis"] for query in after.json["queries"]} == {"replicas"}
    assert after.json["queries"][0]["detectable_effect"] > 0


def test_plan_of_auto_says_that_more_may_follow(
    type_: Type, work: Work, at_service: Embedded
) -> None:
    arguments = (
        "audit",
        work.path("request.yaml"),
        "--tolerance",
        "1e-9",
        "--seed",
        "11",
        "--plan",
    )

    known = type_(*arguments, "--json")
    shown = type_(*arguments)

    assert not known.json["complete"]
    assert "at least" in shown.out


def test_a_local_plan_is_that_of_a_service(type_: Type, work: Work, at_service: Embedded) -> None:
    arguments = ("audit", work.path("request.yaml"), "--replicas", "2", "--seed", "123")

    here = type_(*arguments, "--local", work.path("log"), "--plan", "--json")
    there = type_(*arguments, "--plan", "--json")
    told = type_(*arguments, "--local", work.path("log"), "--plan")

    assert (here.code, there.code, told.code) == (0, 0, 0), here.err + told.err
    assert here.json["queries"] == there.json["queries"]
    assert here.json["retraining_relative"] == pytest.approx(there.json["retraining_relative"])
    for name in ("lane_bytes", "group_bytes", "group_lanes"):
        assert here.json["memory"][name] == there.json["memory"][name] > 0
    assert here.json["memory"]["budget_bytes"] > here.json["memory"]["group_bytes"]
    assert "smallest effect it could show" in told.out
    assert "device memory:" in told.out
    assert "unknown" in told.out


def test_noise_is_asked_for_and_shown(type_: Type, work: Work) -> None:
    said = type_(
        "audit", work.path("request.yaml"), "--local", work.path("log"), "--replicas", "2",
        "--noise", "order", "--json",
    )  # fmt: skip

    assert said.code == 0, said.err
    assert all(effect["sd_order"] >= 0 for effect in said.json["effects"])
    assert said.json["cost"]["noise_relative"] > 0


def test_unknown_noise_is_refused(type_: Type, work: Work) -> None:
    said = type_(
        "audit", work.path("request.yaml"), "--local", work.path("log"), "--noise", "weather"
    )

    assert said.code == 7
    assert "noise" in said.err


def test_cancel_ends_a_watch_with_9(type_: Type, work: Work, at_service: Embedded) -> None:
    asked = type_(
        "audit", work.path("request.yaml"), "--replicas", "64", "--seed", "77", "--detach", "--json"
    )
    cancelled = type_("cancel", asked.json["audit"].rpartition("/")[2], "--json")

    watched = type_("watch", asked.json["audit"], "--json")

    assert cancelled.json["cancel_requested"]
    assert watched.code == 9
    assert "cancelled" in watched.err


def test_interrupt_cancels_the_audit_and_ends_with_130(
    type_: Type, work: Work, at_service: Embedded
) -> None:
    command = [
        sys.executable, "-m", "service.cli.main", "audit", work.path("request.yaml"),
        "--replicas", "64", "--seed", "88", "--json",
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        name = process.stderr.readline().split()[-1]  # printed once the audit is accepted
        process.send_signal(signal.SIGINT)
        try:
            code = process.wait(timeout=60)
        finally:
            process.kill()

    assert code == 130
    assert type_("watch", name, "--json").code == 9


@pytest.mark.parametrize(
    ("arguments", "code", "where"),
    [
        (("--skip", "none-such"), 7, "interventions"),
        (("--query", "margin", "--class", "9", "--data", "DATA", "--better", "lower"), 7, "que"),
        (("--estimator", "task_vector", "--drop", "tune:source=vendor"), 7, "intervention"),
        (("--drop", "tune:colour=red"), 7, "intervention"),
        (("--query", "loss"), 7, "--query"),
        (("--replicas", "0"), 2, "replicas"),
    ],
)
def test_what_cannot_be_answered_is_refused_by_name(
    type_: Type, work: Work, *, arguments: tuple[str, ...], code: int, where: str
) -> None:
    asked = [work.path("heldout") if word == "DATA" else word for word in arguments]

    said = type_("audit", work.path("request.yaml"), "--local", work.path("log"), *asked)

    assert said.code == code, said.err
    assert where in said.err


def test_unreachable_service_ends_with_8(type_: Type, work: Work) -> None:
    said = type_("report", "list", "--server", "127.0.0.1:1")

    assert said.code == 8
    assert "stageaudit" in said.err or "service" in said.err


def test_doctor_finds_the_service(type_: Type, at_service: Embedded) -> None:
    said = type_("doctor", "--json")

    findings = {finding["check"]: finding["status"] for finding in said.json["findings"]}
    assert said.code == 0
    assert findings["service"] == "ok"
    assert findings["torch"] == "ok"
