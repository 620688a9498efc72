"""Logs that contradict themselves, or that this version does not treat: refused at the push."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from auditor.errors import (
    AuditorError,
    DomainError,
    InputError,
    StageLogError,
    UnsupportedError,
)
from auditor.model.tensors import read_tensors, write_tensors
from auditor.stagelog.digest import Digest, canonical_bytes
from auditor.stagelog.log import Checkpoint, Graph, GraphValue, Optimizer, ParameterGroup
from service.channel import Connection
from service.client import Client
from service.pb.v1 import stage_log_pb2
from tests.support.builders import RecordedRun, make_stage_log
from tests.support.forgery import with_columns, with_log, with_stage
from tests.support.refusals import refused, write_folder
from tests.support.served import Served, served

Forgery = Callable[[RecordedRun], RecordedRun]


@pytest.fixture(scope="module")
def run() -> RecordedRun:
    return make_stage_log(stages=2, steps=3, optimizer="momentum")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture
def client(service: Served) -> Iterator[Client]:
    with service.client() as connected:
        yield connected


def gap(run: RecordedRun) -> RecordedRun:
    return with_stage(run, 1, first_step=4)


def overlap(run: RecordedRun) -> RecordedRun:
    return with_stage(run, 1, first_step=2)


def without_steps(run: RecordedRun) -> RecordedRun:
    return with_stage(run, 1, end_step=3)


def hyperparameter(name: str, value: float) -> Forgery:
    def change(columns: dict[str, np.ndarray]) -> None:
        columns[name][1, 0] = value

    return lambda run: with_columns(run, 1, change)


def other_optimizer(run: RecordedRun) -> RecordedRun:
    return with_stage(run, 1, optimizer=Optimizer(kind="lion"))


def renamed(run: RecordedRun) -> RecordedRun:
    """Call a parameter by another name everywhere but in the graph."""

    def name(old: str) -> str:
        return old.replace("0.weight", "first.weight")

    def blob(digest: str | None) -> Digest:
        tensors = read_tensors(run.blobs.read(Digest(str(digest))), where="blob")
        return run.blobs.write(write_tensors({name(key): value for key, value in tensors.items()}))

    def checkpoint(old: Checkpoint) -> Checkpoint:
        return old.model_copy(
            update={"parameters": blob(old.parameters), "optimizer": blob(old.optimizer)}
        )

    stages = tuple(
        stage.model_copy(
            update={
                "checkpoints": tuple(checkpoint(own) for own in stage.checkpoints),
                "groups": tuple(
                    ParameterGroup(parameters=tuple(name(own) for own in group.parameters))
                    for group in stage.groups
                ),
            }
        )
        for stage in run.log.stages
    )
    changes = {
        "parameters": {name(key): value for key, value in run.log.parameters.items()},
        "start": checkpoint(run.log.start),
        "stages": stages,
    }
    return with_log(run, run.log.model_copy(update=changes))


def with_graph(run: RecordedRun, **changes: Any) -> RecordedRun:
    (name,) = run.log.graphs
    graph: Graph = run.log.graphs[name].model_copy(update=changes)
    return with_log(run, run.log.model_copy(update={"graphs": {name: graph}}))


def changed_graph(change: Callable[[onnx.GraphProto], None]) -> Forgery:
    def forge(run: RecordedRun) -> RecordedRun:
        (graph,) = run.log.graphs.values()
        model = onnx.load_from_string(bytes(run.blobs.read(Digest(graph.onnx))))
        change(model.graph)
        return with_graph(run, onnx=run.blobs.write(model.SerializeToString()))

    return forge


def unknown_operator(graph: onnx.GraphProto) -> None:
    node = next(node for node in graph.node if node.op_type == "Tanh")
    node.op_type, node.name = "Frobnicate", "odd"


def known_operator_that_is_not_treated(graph: onnx.GraphProto) -> None:
    node = next(node for node in graph.node if node.op_type == "Tanh")
    node.op_type, node.name = "Det", "odd"


def other_input(run: RecordedRun) -> RecordedRun:
    return with_graph(run, inputs=(GraphValue(name="x", dtype="float64", shape=("N", 5)),))


W, LR = "parameters[first.weight]", "stages[1].schedule.steps[4].groups[0]"
REFUSED: dict[str, tuple[Forgery, type[AuditorError], str, str, str]] = {
    "gap": (gap, StageLogError, "stages[1].first_step", "3, where", "4, a gap"),
    "overlap": (overlap, StageLogError, "stages[1].first_step", "3, where", "2, an overlap"),
    "no steps": (without_steps, StageLogError, "stages[1].end_step", "a stage has steps", "3"),
    "lr nan": (hyperparameter("lr", np.nan), DomainError, f"{LR}.lr", "finite", "nan"),
    "lr inf": (hyperparameter("lr", np.inf), DomainError, f"{LR}.lr", "finite", "inf"),
    "lr negative": (hyperparameter("lr", -0.1), DomainError, f"{LR}.lr", ">= 0", "-0.1"),
    "decay negative": (
        hyperparameter("weight_decay", -1), DomainError, f"{LR}.weight_decay", ">= 0", "-1",
    ),
    "optimizer": (
        other_optimizer, UnsupportedError, "stages[1].optimizer.kind", "sgd or adam", "lion",
    ),
    "names": (renamed, InputError, W, "outputs depend on", "no input of this name"),
    "inputs": (other_input, InputError, 'graphs["model"].inputs', "4]", "5]"),
    "unknown operator": (
        changed_graph(unknown_operator), UnsupportedError, "node 'odd' (Frobnicate)", "treated",
        "Frobnicate",
    ),
    "operator": (
        changed_graph(known_operator_that_is_not_treated), UnsupportedError, "node 'odd' (Det)",
        "treated", "Det",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("forge", "kind", "where", "expected", "found"), REFUSED.values(), ids=REFUSED.keys()
)
def test_log_is_refused_by_field(
    service: Served, client: Client, run: RecordedRun, tmp_path: Path, *, forge: Forgery,
    kind: type[AuditorError], where: str, expected: str, found: str,
) -> None:  # fmt: skip
    folder = write_folder(forge(run), tmp_path / "log")

    with refused(service, client) as refusal:
        client.push_log(folder)

    refusal.says(kind, where, expected=expected, found=found)


def test_log_without_one_of_its_blobs_is_refused_before_anything_is_sent(
    service: Served, client: Client, run: RecordedRun, tmp_path: Path
) -> None:
    folder = write_folder(run, tmp_path / "log")
    digest = run.log.start.parameters
    gone = folder / "blobs" / "sha256" / digest[:2] / digest
    gone.unlink()

    with refused(service, client) as refusal:
        client.push_log(folder)

    refusal.says(InputError, str(gone), expected="a readable file", found="No such file")


def test_log_whose_blobs_were_not_sent_is_refused(
    service: Served, client: Client, run: RecordedRun
) -> None:
    start = run.log.start.model_copy(update={"parameters": "e" * 64})
    digest = client.push_blob(canonical_bytes(run.log.model_copy(update={"start": start})))
    request = stage_log_pb2.CreateStageLogRequest(parent="tenants/default", manifest_digest=digest)

    with (
        Connection(service.address.address, token=service.token) as connection,
        refused(service, client) as refusal,
    ):
        connection.call(connection.stage_logs.CreateStageLog, request)

    assert refusal.error is not None
    assert refusal.error.code == "BLOBS_MISSING"
    assert refusal.error.where == "manifest"
    assert "e" * 12 in refusal.error.found


def test_log_as_recorded_is_accepted(client: Client, run: RecordedRun, tmp_path: Path) -> None:
    assert client.push_log(write_folder(run, tmp_path / "log")) == run.digest
