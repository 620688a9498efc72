"""Batch norms of which some are frozen: trained in plain torch, replayed and retrained."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from auditor.dynamics.consistency import check_segment
from auditor.dynamics.minibatches import Lane
from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState
from auditor.dynamics.trajectory import advance
from auditor.errors import StageLogError
from auditor.plan.request import Intervention
from auditor.record.recorder import Recorder
from auditor.stagelog.digest import digest_of
from auditor.stagelog.validate import validate
from tests.support.builders import FixedClock, MemorySink, export_once
from tests.support.cases import quiet
from tests.support.memory_blobs import MemoryBlobs

STEPS = 8
FROZEN = "1"


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 6), nn.BatchNorm1d(6),
        nn.Linear(6, 3),
    ).double()  # fmt: skip


def columns_of(stage: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(stage)
    x = 1 + 2 * torch.randn(32, 4, generator=generator, dtype=torch.float64)
    return {"x": x, "y": torch.randint(3, (32,), generator=generator)}


def train(
    *, skip: frozenset[int] = frozenset(), freeze: bool = True
) -> tuple[list[dict[str, Tensor]], Run]:
    """Train two stages; in the second one the first batch norm is frozen, as in fine-tuning."""
    model = network().train()
    sink = MemorySink(blobs=MemoryBlobs(), manifests=[])
    recorder = Recorder(sink, model, run_name="norms", export=export_once, clock=FixedClock())
    ends = []
    for index in range(2):
        columns = columns_of(index)
        data = recorder.dataset(f"data{index}", columns)
        if index == 1 and freeze:
            model.get_submodule(FROZEN).eval()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        if index not in skip:
            with recorder.stage(
                f"stage{index}", optimizer=optimizer, loss="cross_entropy", inputs={"x": "x"},
                target="y",
            ) as stage:  # fmt: skip
                for step in range(STEPS):
                    rows = (torch.arange(8) + 5 * step) % 32
                    stage.batch(data, rows)
                    optimizer.zero_grad()
                    logits = model(columns["x"][rows])
                    loss = functional.cross_entropy(logits, columns["y"][rows])
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
        state = model.state_dict()
        ends.append({n: t.clone() for n, t in state.items() if t.is_floating_point()})
    return ends, Run(recorder.log, digest_of(recorder.log), sink.blobs)


def close(run: Run, stage: int, state: TrainingState, truth: dict[str, Tensor]) -> None:
    found = {**run.layout(stage).unflatten(state.theta), **state.buffers}
    assert set(found) == set(truth)
    for name, tensor in truth.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-9, atol=1e-11, msg=name)


def test_each_norm_has_its_own_mode_in_replay_and_retraining() -> None:
    ends, run = train()
    truth, _ = train(skip=frozenset({0}))
    first, second = (run.log.graphs[stage.graph] for stage in run.log.stages)

    assert (first.batch_norm, first.running_norms) == ("batch", None)
    assert (second.batch_norm, second.running_norms) == ("batch", ("1.running_mean",))
    for index in range(2):
        lanes = [Lane(), Lane()]
        for end in advance(
            run, index, [run.boundary(index)] * 2, lanes=lanes, on_block=quiet
        ).states:
            close(run, index, end, ends[index])
        assert check_segment(run, index, on_block=quiet).verdict == "consistent"
    skip = Lane(intervention=Intervention(stage="stage0", kind="skip"))
    state = advance(run, 0, [run.boundary(0)], lanes=[skip], on_block=quiet).states[0]
    state = advance(run, 1, [state], lanes=[Lane()], on_block=quiet).states[0]
    close(run, 1, state, truth[1])


def test_the_frozen_norm_matters() -> None:
    """A log that says nothing of it is inconsistent."""
    _, run = train()
    name = run.log.stages[1].graph
    graph = run.log.graphs[name].model_copy(update={"running_norms": None})
    log = run.log.model_copy(update={"graphs": {**run.log.graphs, name: graph}})

    assert check_segment(Run(log, run.log_digest, run.blobs), 1, on_block=quiet).verdict == (
        "inconsistent"
    )


@pytest.mark.parametrize("changes", [{"running_norms": ("0.weight",)}, {"batch_norm": "running"}])
def test_a_graph_that_names_what_is_no_frozen_norm_is_refused(changes: dict[str, object]) -> None:
    _, run = train()
    name = run.log.stages[1].graph
    graph = run.log.graphs[name].model_copy(update=changes)

    with pytest.raises(StageLogError, match="running_norms"):
        validate(run.log.model_copy(update={"graphs": {**run.log.graphs, name: graph}}))
