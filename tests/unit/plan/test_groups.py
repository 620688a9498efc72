"""Group keys: what decides a traced step and its shapes, and nothing else."""

from collections.abc import Callable
from typing import Any

import pytest

from auditor.plan.actions import Advance, Computed, Evaluate, Recorded
from auditor.plan.groups import GroupKeys
from auditor.plan.request import Intervention
from auditor.stagelog.dataset import Column
from auditor.stagelog.digest import Digest, digest_of
from auditor.stagelog.log import (
    Bindings,
    Clipping,
    Loss,
    Optimizer,
    ParameterGroup,
    ParameterInfo,
    StageLog,
    Stochastic,
    Transition,
)
from tests.support.manifests import COLUMNS, make_dataset, make_log, make_query, make_stage


class Logs:
    """Logs by digest, and how often each was read."""

    def __init__(self) -> None:
        self.stored: dict[str, StageLog] = {}
        self.read: list[str] = []

    def add(self, log: StageLog) -> Digest:
        digest = digest_of(log)
        self.stored[digest] = log
        return digest

    def __call__(self, digest: str) -> StageLog:
        self.read.append(digest)
        return self.stored[digest]


def key_in(log: StageLog, *, stage: int = 1, **changes: Any) -> Digest:
    """Return the group key of an advance through a stage of a log."""
    logs = Logs()
    spec = Advance(log=logs.add(log), stage=stage, start=Recorded(boundary=stage), fraction=0.5)
    return GroupKeys(logs)(spec.model_copy(update=changes))


def with_stage(**changes: Any) -> StageLog:
    """Return a log whose second stage is another."""
    return make_log(make_stage(0), make_stage(1, **changes), make_stage(2))


def with_graph(**changes: Any) -> StageLog:
    log = make_log()
    graph = log.graphs["model"].model_copy(update=changes)
    return log.model_copy(update={"graphs": {"model": graph}})


SAME: dict[str, Callable[[], Digest]] = {
    "another log": lambda: key_in(make_log(datasets={"train": make_dataset(examples=77)})),
    "another stage": lambda: key_in(make_log(), stage=2),
    "another name": lambda: key_in(with_stage(name="other")),
    "another transition": lambda: key_in(with_stage(transition=Transition(optimizer="keep"))),
    "other hyperparameters and batches": lambda: key_in(
        with_stage(schedule="8" * 64, batches="9" * 64)
    ),
    "other seeds of dropout": lambda: key_in(with_stage(stochastic=Stochastic(seed=4))),
    "another column beside": lambda: key_in(
        make_log(datasets={"train": make_dataset(columns={**COLUMNS, "id": Column(dtype="int64")})})
    ),
    "another start": lambda: key_in(make_log(), start=Computed(key="e" * 64)),
    "another intervention": lambda: key_in(
        make_log(), intervention=Intervention(kind="fade", stage="stage1", alpha=0.5)
    ),
    "another draw": lambda: key_in(make_log(), seed=3, replica=4, order=5, draw="uniform"),
}

OTHER: dict[str, Callable[[], Digest]] = {
    "graph": lambda: key_in(with_graph(onnx="e" * 64)),
    "batch norm": lambda: key_in(with_graph(batch_norm="batch")),
    "parameters": lambda: key_in(
        make_log(parameters={"weight": ParameterInfo(shape=(4, 2), dtype="float32")})
    ),
    "dtype": lambda: key_in(
        make_log(parameters={"weight": ParameterInfo(shape=(4, 3), dtype="float64")})
    ),
    "parameter groups": lambda: key_in(with_stage(groups=(ParameterGroup(parameters=()),))),
    "loss": lambda: key_in(with_stage(loss=Loss(kind="cross_entropy", label_smoothing=0.1))),
    "class weights": lambda: key_in(
        with_stage(loss=Loss(kind="cross_entropy", class_weights=(1.0, 2.0, 3.0)))
    ),
    "denominator": lambda: key_in(with_stage(loss_denominator="recorded")),
    "loss scale": lambda: key_in(with_stage(loss_scale="recorded")),
    "precision": lambda: key_in(with_stage(precision="autocast bfloat16 over float32")),
    "optimizer": lambda: key_in(with_stage(optimizer=Optimizer(kind="adamw"))),
    "nesterov": lambda: key_in(with_stage(optimizer=Optimizer(kind="sgd", nesterov=True))),
    "clipping": lambda: key_in(with_stage(clipping=Clipping(kind="norm", limit=1.0))),
    "averaging": lambda: key_in(with_stage(ema_decay=0.9)),
    "recorded dropout": lambda: key_in(with_stage(stochastic=Stochastic(dropout="seeded", seed=4))),
    "output": lambda: key_in(
        with_stage(bindings=Bindings(inputs={"x": "image"}, target="label", output=1))
    ),
    "steps": lambda: key_in(make_log(*(make_stage(i, steps=11) for i in range(3)))),
    "batch size": lambda: key_in(with_stage(examples_per_step=9)),
    "shape of an example": lambda: key_in(
        make_log(
            datasets={
                "train": make_dataset(
                    columns={**COLUMNS, "image": Column(dtype="float32", shape=(5,))}
                )
            }
        )
    ),
    "fraction": lambda: key_in(make_log(), fraction=0.25),
    "skipped": lambda: key_in(make_log(), intervention=Intervention(kind="skip", stage="stage1")),
}


@pytest.mark.parametrize("made", SAME.values(), ids=SAME.keys())
def test_values_are_no_part_of_the_key(made: Callable[[], Digest]) -> None:
    assert made() == key_in(make_log())


@pytest.mark.parametrize("made", OTHER.values(), ids=OTHER.keys())
def test_what_decides_a_step_is_part_of_the_key(made: Callable[[], Digest]) -> None:
    assert made() != key_in(make_log())


def test_a_stage_is_digested_once() -> None:
    logs = Logs()
    log, keys = logs.add(make_log()), GroupKeys(logs)

    for replica in range(5):
        keys(Advance(log=log, stage=0, start=Recorded(boundary=0), replica=replica))

    assert logs.read == [log]


def test_evaluations_of_two_logs_stay_apart() -> None:
    keys = GroupKeys(Logs())
    specs = [
        Evaluate(log=digest * 64, query=make_query(), state=Recorded(boundary=1)) for digest in "ab"
    ]

    assert len({keys(spec) for spec in specs}) == 2
