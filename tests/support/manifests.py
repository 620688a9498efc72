"""Manifests without blobs: valid logs, evaluation sets and requests for tests of planning."""

from auditor.effects import Better, Probe, Query, QueryKind
from auditor.plan.request import AuditRequest, Intervention, Reference
from auditor.stagelog.dataset import Column, Dataset, EvaluationSet, Shard
from auditor.stagelog.log import (
    Bindings,
    Checkpoint,
    Graph,
    GraphValue,
    Loss,
    Optimizer,
    ParameterGroup,
    ParameterInfo,
    Run,
    Stage,
    StageLog,
    Transition,
)

LOG_DIGEST = "a" * 64
DATA = "d" * 64
CONTROL = "c" * 64

COLUMNS = {
    "image": Column(dtype="float32", shape=(4,)),
    "label": Column(dtype="int64"),
    "source": Column(dtype="int32", categories=("own", "vendor")),
}


def make_dataset(*, examples: int = 100, **changes: object) -> Dataset:
    """Return a dataset manifest of one shard."""
    values: dict[str, object] = {
        "examples": examples,
        "columns": COLUMNS,
        "shards": (Shard(digest="5" * 64, count=examples),),
    }
    return Dataset.model_validate(values | changes)


def make_stage(index: int, *, steps: int = 10, **changes: object) -> Stage:
    """Return stage ``index`` of a log whose stages all have ``steps`` steps."""
    values: dict[str, object] = {
        "name": f"stage{index}",
        "graph": "model",
        "bindings": Bindings(inputs={"x": "image"}, target="label"),
        "loss": Loss(kind="cross_entropy"),
        "datasets": ("train",),
        "first_step": index * steps,
        "end_step": (index + 1) * steps,
        "examples_per_step": 8,
        "transition": Transition(),
        "optimizer": Optimizer(kind="sgd"),
        "groups": (ParameterGroup(parameters=("weight",)),),
        "schedule": "1" * 64,
        "batches": "2" * 64,
        "checkpoints": (
            Checkpoint(step=(index + 1) * steps, parameters="3" * 64, optimizer="4" * 64),
        ),
    }
    return Stage.model_validate(values | changes)


def make_log(*stages: Stage, **changes: object) -> StageLog:
    """Return a log of level 2; three stages unless some are given."""
    values: dict[str, object] = {
        "run": Run(name="run", created="2026-01-01T00:00:00Z", recorder="test", framework="torch"),
        "parameters": {"weight": ParameterInfo(shape=(4, 3), dtype="float32")},
        "graphs": {
            "model": Graph(
                onnx="6" * 64,
                inputs=(GraphValue(name="x", dtype="float32", shape=("B", 4)),),
                outputs=(GraphValue(name="y", dtype="float32", shape=("B", 3)),),
            )
        },
        "datasets": {"train": make_dataset()},
        "start": Checkpoint(step=0, parameters="3" * 64, optimizer="4" * 64),
        "stages": stages or tuple(make_stage(index) for index in range(3)),
    }
    return StageLog.model_validate(values | changes)


def make_query(**changes: object) -> Query:
    """Return a loss query on :data:`DATA`."""
    values: dict[str, object] = {
        "name": "loss",
        "kind": QueryKind.LOSS,
        "better": Better.LOWER,
        "data": DATA,
    }
    return Query.model_validate(values | changes)


def make_probe() -> Probe:
    """Return a cue probe: treated :data:`DATA`, control :data:`CONTROL`."""
    of = make_query(name="p", kind=QueryKind.PROBABILITY, **{"class": 1})
    return Probe(name="cue", better=Better.LOWER, of=of, treated=DATA, control=CONTROL)


def make_sets(**columns: Column) -> dict[str, EvaluationSet]:
    """Return evaluation sets for :data:`DATA` and :data:`CONTROL`."""
    dataset = make_dataset(columns=COLUMNS | columns)
    return {digest: EvaluationSet(name="held-out", dataset=dataset) for digest in (DATA, CONTROL)}


def make_request(**changes: object) -> AuditRequest:
    """Return a request: skip every stage, held-out loss, the default estimator."""
    values: dict[str, object] = {
        "log": LOG_DIGEST,
        "interventions": "stages",
        "queries": (make_query(),),
    }
    return AuditRequest.model_validate(values | changes)


def replace_by_held_out(stage: str) -> Intervention:
    """Return a replace of ``stage`` by the evaluation set :data:`DATA`."""
    return Intervention(kind="replace", stage=stage, reference=Reference(data=DATA))


def with_output(log: StageLog, *shape: int | str) -> StageLog:
    """Return the log with a graph whose output has another shape."""
    output = GraphValue(name="y", dtype="float32", shape=shape)
    graph = log.graphs["model"].model_copy(update={"outputs": (output,)})
    return log.model_copy(update={"graphs": {"model": graph}})
