"""The seven kinds of tampering on real architectures, at a stated size; the honest log passes.

Stated sizes: one example of sixteen exchanged, one learning rate changed by 1 %, a checkpoint by
1e-3 relative, one input of one example by a tenth of its spread, the optimizer's state zeroed, two
stages swapped, a boundary moved by one step.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditor.dynamics.consistency import check_segment
from auditor.dynamics.run import Run
from auditor.errors import AuditorError
from auditor.record.recorder import Recorder
from auditor.stagelog.batches import BatchRow
from auditor.stagelog.content import check_content
from auditor.stagelog.digest import digest_of
from auditor.stagelog.validate import validate
from tests.support.builders import FixedClock, MemorySink, RecordedRun, export_once
from tests.support.cases import quiet
from tests.support.forgery import (
    rows_of,
    with_checkpoint,
    with_columns,
    with_log,
    with_rows,
    with_shard,
    with_stage,
)
from tests.support.models import FAMILIES, build_module

pytestmark = pytest.mark.slow

EXAMPLES = 48
STEPS = 8
CASES = {
    "cnn with batch norm, momentum, float32": ("cnn", "momentum", torch.float32),
    "transformer, adamw, float32": ("transformer", "adamw", torch.float32),
    "transformer, adamw, float64": ("transformer", "adamw", torch.float64),
    "attention, adamw, float32": ("attention", "adamw", torch.float32),
}


@cache
def recorded(family: str, optimizer: str, dtype: torch.dtype) -> RecordedRun:
    """Record two stages, the second with the optimizer of the first."""
    model = build_module(family, dtype=dtype)
    generator = torch.Generator().manual_seed(5)
    inputs = FAMILIES[family].inputs(EXAMPLES, generator)
    inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs
    classes = model(inputs[:2]).shape[-1]
    labels = torch.randint(classes, (EXAMPLES,), generator=generator)
    sink = MemorySink.new()
    recorder = Recorder(sink, model, run_name=family, export=export_once, clock=FixedClock())
    own: torch.optim.Optimizer
    if optimizer == "adamw":
        own = torch.optim.AdamW(model.parameters(), lr=3e-3)
    else:
        own = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    for index in range(2):
        data = recorder.dataset(f"data{index}", {"x": inputs, "label": labels})
        with recorder.stage(
            f"stage{index}", optimizer=own, loss="cross_entropy", inputs={"x": "x"}, target="label"
        ) as stage:
            for _ in range(STEPS):
                rows = torch.randperm(EXAMPLES, generator=generator)[:16]
                stage.batch(data, rows)
                own.zero_grad()
                loss = nn.functional.cross_entropy(model(inputs[rows]), labels[rows])
                loss.backward()  # type: ignore[no-untyped-call]
                own.step()
    log = recorder.log
    return RecordedRun(
        log=log, digest=digest_of(log), blobs=sink.blobs, evaluation=digest_of(log), model=model
    )


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def run(request: pytest.FixtureRequest) -> RecordedRun:
    return recorded(*request.param)


def found(run: RecordedRun) -> bool:
    """Say whether a full check finds something."""
    try:
        validate(run.log)
        check_content(run.log, run.blobs)
    except AuditorError:
        return True
    replay = Run(run.log, run.digest, run.blobs)
    verdicts = [check_segment(replay, index, on_block=quiet).verdict for index in range(2)]
    return "inconsistent" in verdicts


def one_index(run: RecordedRun) -> RecordedRun:
    def change(rows: list[list[BatchRow]]) -> None:
        indices = rows[3][0].indices.copy()
        indices[0] = next(i for i in range(EXAMPLES) if i not in indices)
        rows[3][0] = replace(rows[3][0], indices=indices)

    return with_rows(run, 1, change)


def one_learning_rate(run: RecordedRun) -> RecordedRun:
    def change(columns: dict[str, np.ndarray]) -> None:
        columns["lr"][5, 0] *= 1.01

    return with_columns(run, 1, change)


def one_checkpoint(run: RecordedRun) -> RecordedRun:
    def change(tensors: dict[str, Tensor]) -> None:
        for tensor in tensors.values():
            if tensor.is_floating_point():
                tensor.mul_(1 + 1e-3)

    return with_checkpoint(run, 1, -1, change)


def optimizer_zeroed(run: RecordedRun) -> RecordedRun:
    def change(tensors: dict[str, Tensor]) -> None:
        for tensor in tensors.values():
            tensor.zero_()

    return with_checkpoint(run, 0, -1, change, part="optimizer")


def one_row(run: RecordedRun) -> RecordedRun:
    used = int(rows_of(run, run.log.stages[1])[2][0].indices[0])

    def change(columns: dict[str, Tensor]) -> None:
        x = columns["x"]
        if x.is_floating_point():
            x[used] += 0.1 * x.std()
        else:
            x[used, 0] = (x[used, 0] + 1) % int(x.max())

    return with_shard(run, "data1", change)


def stages_swapped(run: RecordedRun) -> RecordedRun:
    first, second = run.log.stages
    return with_log(run, run.log.model_copy(update={"stages": (second, first)}))


def boundary_moved(run: RecordedRun) -> RecordedRun:
    first, second = run.log.stages
    forged = with_stage(run, 0, end_step=STEPS + 1)
    assert second.first_step == STEPS == first.end_step
    return forged


FORGERIES: list[Callable[[RecordedRun], RecordedRun]] = [
    one_index, one_learning_rate, one_checkpoint, optimizer_zeroed, one_row, stages_swapped,
    boundary_moved,
]  # fmt: skip


def test_honest_log_passes(run: RecordedRun) -> None:
    replay = Run(run.log, run.digest, run.blobs)

    findings = [check_segment(replay, index, on_block=quiet) for index in range(2)]

    assert [finding.verdict for finding in findings] == ["consistent"] * 2
    assert not found(run)


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_forgery_is_found(run: RecordedRun, forge: Callable[[RecordedRun], RecordedRun]) -> None:
    assert found(forge(run))
