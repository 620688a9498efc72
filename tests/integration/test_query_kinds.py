"""Kinds of queries that need something from outside: metric graphs and tools of the requester."""

import base64
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from auditor.effects import Query, Tool, ToolFile
from auditor.errors import QueryError, UnsupportedError
from auditor.estimators.task_vector import TaskVectorSettings
from auditor.plan.request import AuditRequest
from auditor.stagelog.digest import sha256
from service.cli.main import run as run_command
from service.client import Client
from service.executors.local import DEFAULT_ENGINE
from tests.support.builders import RecordedRun, make_columns, make_stage_log
from tests.support.metric_graphs import brier_graph
from tests.support.refusals import push_evaluation, refused, write_folder
from tests.support.served import Served, served

pytestmark = pytest.mark.slow

TOOL = Tool(name="t", command=("touch", "x"), files=(ToolFile(name="touch", digest="0" * 64),))
NORMS = """
import json, sys
from safetensors.torch import load_file
tensors = load_file(sys.argv[1])
with open(sys.argv[2], "w") as file:
    for number, name in enumerate(sorted(tensors)):
        print(json.dumps({"id": number, "value": tensors[name].norm().item()}), file=file)
"""


@pytest.fixture(scope="module")
def run() -> RecordedRun:
    return make_stage_log(stages=2, steps=3)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, run: RecordedRun) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served"), engine=DEFAULT_ENGINE) as running:
        with running.client() as client:
            client.push_log(write_folder(run, tmp_path_factory.mktemp("full") / "log"))
            push_evaluation(client, run)
        yield running


@pytest.fixture
def client(service: Served) -> Iterator[Client]:
    with service.client() as connected:
        yield connected


def asked(run: RecordedRun, **query: object) -> AuditRequest:
    plain = {"name": "q", "better": "lower", "data": run.evaluation, **query}
    return AuditRequest(
        log=run.digest,
        interventions="stages",
        queries=(Query.model_validate(plain),),
        estimator=TaskVectorSettings(),
        baselines=(),
    )


def test_service_computes_a_metric_graph(client: Client, run: RecordedRun) -> None:
    metric = client.push_blob(brier_graph())

    name = client.create_audit(asked(run, kind="metric", metric=metric))

    bundle = json.loads(client.get_report(client.wait(name)["report"]))
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    columns = make_columns(examples=24, seed=999)
    with torch.no_grad():
        p = functional.softmax(run.model(columns["x"]), dim=-1)
    brier = (p - functional.one_hot(columns["label"], 3)).square().sum(-1).mean()
    assert statement["predicate"]["queries"][0]["value"] == pytest.approx(brier.item(), rel=1e-9)


def test_service_refuses_a_graph_that_is_no_metric(
    service: Served, client: Client, run: RecordedRun
) -> None:
    metric = client.push_blob(brier_graph(constant=True))

    with refused(service, client) as refusal:
        client.create_audit(asked(run, kind="metric", metric=metric))

    refusal.says(QueryError, "queries.metric", expected="depends on the model's", found="constant")


def test_service_runs_no_tools(service: Served, client: Client, run: RecordedRun) -> None:
    with refused(service, client) as refusal:
        client.create_audit(asked(run, kind="outside", data=None, tool=TOOL))

    refusal.says(UnsupportedError, "queries[0].kind", expected="runs no commands", found="outside")


@pytest.fixture
def folder(tmp_path: Path, run: RecordedRun, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the log and a request for values of a tool."""
    write_folder(run, tmp_path / "log")
    (tmp_path / "norms.py").write_text(NORMS)
    (tmp_path / "request.yaml").write_text(
        "queries: [{name: norm, kind: outside, tool: norms, better: lower, unit: norm}]\n"
        "estimator: task_vector\nbaselines: []\nconsistency: skip\n"
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


def command(folder: Path, script: str) -> list[str]:
    tool = shlex.join([sys.executable, str(folder / script)])
    return [
        "audit", str(folder / "request.yaml"), "--local", str(folder / "log"), "--json",
        "--outside", f"norms@7={tool} {{checkpoint}} {{values}}",
    ]  # fmt: skip


def test_local_audit_measures_checkpoints_by_a_tool(
    folder: Path, run: RecordedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command(command(folder, "norms.py"))

    report = json.loads(capsys.readouterr().out)
    state = run.model.state_dict()
    norms = [state[name].norm().item() for name in sorted(state)]
    assert ended.value.code in {0, None}
    assert report["queries"][0]["value"] == pytest.approx(sum(norms) / len(norms), rel=1e-12)
    assert report["queries"][0]["unit"] == "norm"
    (tool,) = report["tools"]
    assert (tool["name"], tool["version"]) == ("norms", "7")
    assert {"name": "norms.py", "digest": sha256(NORMS.encode())} in tool["files"]
    assert "OUTSIDE_TOOL" in {limitation["id"] for limitation in report["limitations"]}


def test_interrupt_ends_the_tool(folder: Path) -> None:
    (folder / "norms.py").write_text(
        "import os, pathlib, threading\n"
        f"path = pathlib.Path({str(folder / 'part')!r})\n"
        "path.write_text(str(os.getpid()))\n"
        f"path.rename({str(folder / 'pid')!r})\n"
        "threading.Event().wait()\n"
    )
    # Background jobs of a shell ignore SIGINT, and so does what they start; terminals do not.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "service.cli.main", *command(folder, "norms.py")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    signal.signal(signal.SIGINT, before)
    try:
        deadline = time.monotonic() + 60
        while not (folder / "pid").exists() and time.monotonic() < deadline:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=0.2)
        tool = int((folder / "pid").read_text())
        process.send_signal(signal.SIGINT)

        assert process.wait(timeout=30) == 130
        assert not Path(f"/proc/{tool}").exists()
    finally:
        process.kill()
        process.wait()
