"""Repaired models against plain torch: what comes out is what training otherwise would give."""

import pytest
import torch
from torch import Tensor, nn

from auditor.audit.local import run_audit
from auditor.edge.folder import FolderBlobs
from auditor.effects import Better, Query, QueryKind
from auditor.errors import InputError, UnsupportedError
from auditor.estimators.aa_score import AaScoreSettings
from auditor.estimators.retrain import RetrainSettings
from auditor.estimators.subsampled_replay import SubsampledReplaySettings
from auditor.model.tensors import read_tensors
from auditor.plan.repair import Goal, RepairRequest
from auditor.plan.request import AuditRequest, Intervention, Joint
from auditor.plan.settings import EstimatorSettings
from auditor.record.evalset import write_evaluation_set
from auditor.record.recorder import Recorder
from auditor.report.schema import Report
from auditor.stagelog.batches import read_batches
from auditor.stagelog.digest import Digest, canonical_bytes, digest_of
from tests.support.builders import (
    FixedClock,
    MemorySink,
    RecordedRun,
    export_once,
    make_columns,
    make_network,
    make_optimizer,
    make_stage_log,
)
from tests.support.memory_index import MemoryIndex

STEPS = 6
STAGES = 3
SKIP_LAST = Intervention(kind="skip", stage=f"stage{STAGES - 1}")
SKIP_FIRST = Intervention(kind="skip", stage="stage0")


def repair(
    recorded: RecordedRun,
    *interventions: Intervention | Joint,
    of: int = 0,
    estimator: EstimatorSettings | None = None,
    goals: tuple[Goal, ...] = (),
    index: MemoryIndex | None = None,
    seen: list[str] | None = None,
) -> Report:
    recorded.blobs.write(canonical_bytes(recorded.log))
    query = Query(name="loss", kind=QueryKind.LOSS, better=Better.LOWER, data=recorded.evaluation)
    request = AuditRequest(
        log=recorded.digest,
        interventions=interventions,
        queries=(query,),
        estimator=estimator or RetrainSettings(),
        repair=RepairRequest(intervention=of, goals=goals),
        baselines=(),
        consistency="skip",
    )
    kinds: list[str] = [] if seen is None else seen
    return run_audit(
        request,
        blobs=recorded.blobs,
        index=index or MemoryIndex(),
        device="cpu",
        on_progress=lambda progress: kinds.append(progress.kind),
    )


def tensors_of(recorded: RecordedRun, report: Report) -> dict[str, Tensor]:
    assert report.repair is not None
    return read_tensors(recorded.blobs.read(Digest(report.repair.model.digest)), where="repaired")


def recorded_tensors(recorded: RecordedRun, boundary: int) -> dict[str, Tensor]:
    digest = Digest(recorded.log.boundary(boundary).parameters)
    return read_tensors(recorded.blobs.read(digest), where="recorded")


def train_without(recorded: RecordedRun, optimizer: str, *, skipped: set[int]) -> nn.Module:
    network = make_network()
    for stage in set(range(STAGES)) - skipped:
        entry = recorded.log.stages[stage]
        batches = read_batches(recorded.blobs.read(Digest(entry.batches)), where="batches")
        current = make_optimizer(optimizer, network)
        rate = current.param_groups[0]["lr"]
        columns = make_columns(seed=100 + stage)
        for step in range(STEPS):
            rows = torch.from_numpy(batches.rows(entry.first_step + step)[0].indices.copy())
            current.param_groups[0]["lr"] = rate / (1 + step / STEPS)
            current.zero_grad()
            output = network(columns["x"][rows])
            nn.functional.cross_entropy(output, columns["label"][rows]).backward()
            current.step()
    return network


def loss_of(network: nn.Module) -> float:
    columns = make_columns(examples=24, seed=999)
    with torch.no_grad():
        return nn.functional.cross_entropy(network(columns["x"]), columns["label"]).item()


@pytest.mark.parametrize("optimizer", ["momentum", "adamw"])
def test_repair_equals_training_without_the_stage_in_torch(optimizer: str) -> None:
    recorded = make_stage_log(stages=STAGES, steps=STEPS, optimizer=optimizer)

    report = repair(recorded, Intervention(kind="skip", stage="stage1"))

    truth = train_without(recorded, optimizer, skipped={1})
    torch.testing.assert_close(
        tensors_of(recorded, report), dict(truth.state_dict()), rtol=1e-6, atol=1e-12
    )
    (query,) = report.repair.queries
    assert query.after == pytest.approx(loss_of(truth), rel=1e-8)
    assert query.before == pytest.approx(
        loss_of(train_without(recorded, optimizer, skipped=set())), rel=1e-8
    )


def test_joint_repair_equals_training_without_both_stages_in_torch() -> None:
    recorded = make_stage_log(stages=STAGES, steps=STEPS)
    both = Joint(parts=(SKIP_FIRST, Intervention(kind="skip", stage="stage1")))

    report = repair(recorded, both)

    truth = train_without(recorded, "sgd", skipped={0, 1})
    torch.testing.assert_close(
        tensors_of(recorded, report), dict(truth.state_dict()), rtol=1e-6, atol=1e-12
    )
    assert "without stage 'stage0' and without stage 'stage1'" in report.repair.statement


def test_without_the_last_stage_is_the_recorded_boundary_bit_for_bit() -> None:
    recorded = make_stage_log(stages=STAGES, steps=STEPS, optimizer="adamw", dtype=torch.float32)

    report = repair(recorded, SKIP_LAST)

    found, expected = tensors_of(recorded, report), recorded_tensors(recorded, STAGES - 1)
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert {name: t.dtype for name, t in found.items()} == {
        name: t.dtype for name, t in expected.items()
    }


def test_statement_says_what_it_is_not() -> None:
    recorded = make_stage_log(stages=STAGES, steps=STEPS)

    report = repair(recorded, SKIP_LAST)

    assert report.repair.statement == (
        "An approximate model of training without stage 'stage2'; not certified unlearning, not "
        "erasure under GDPR Art. 17; re-validate before release."
    )
    assert "REPAIRED_MODEL" in {limitation.id for limitation in report.limitations}


def test_half_replayed_repair_is_one_replica_and_its_effect_has_an_interval() -> None:
    recorded = make_stage_log(stages=STAGES, steps=STEPS)
    estimator = SubsampledReplaySettings(fraction=0.5, replicas=4)

    report = repair(recorded, SKIP_FIRST, estimator=estimator)

    exact = repair(recorded, SKIP_FIRST)
    assert (report.repair.fraction, report.repair.replica) == (0.5, 0)
    assert report.effects[0].low < report.effects[0].high
    assert report.repair.model.digest != exact.repair.model.digest
    network = make_network()
    network.load_state_dict(tensors_of(recorded, report))
    assert report.repair.queries[0].after == pytest.approx(loss_of(network), rel=1e-10)


def test_goals_are_judged_at_the_model_that_is_handed_out() -> None:
    recorded = make_stage_log(stages=STAGES, steps=STEPS)
    first = repair(recorded, SKIP_LAST).repair.queries[0]
    between = (first.before + first.after) / 2
    lower, higher = (
        Goal(query="loss", of="value", relation=relation, bound=between) for relation in "<>"
    )
    change = Goal(query="loss", of="change", relation="<", bound=10.0)

    report = repair(recorded, SKIP_LAST, goals=(lower, higher, change))

    met = [outcome.met for outcome in report.repair.goals]
    assert met == [first.after < between, first.after > between, True]
    assert report.repair.goals[2].found == pytest.approx(first.after - first.before)


def test_repair_of_an_audited_log_computes_forward_passes_only() -> None:
    recorded = make_stage_log(stages=STAGES, steps=STEPS)
    index = MemoryIndex()
    seen: list[str] = []
    repair(recorded, SKIP_FIRST, SKIP_LAST, of=0, index=index)

    repair(recorded, SKIP_FIRST, SKIP_LAST, of=1, index=index, seen=seen)

    assert set(seen) == {"export_state", "report"}


def test_estimator_without_a_model_is_refused() -> None:
    recorded = make_stage_log(stages=STAGES, steps=STEPS)

    with pytest.raises(UnsupportedError, match="subsampled_replay or retrain"):
        repair(recorded, SKIP_LAST, estimator=AaScoreSettings())


def test_position_and_goals_of_a_repair_are_checked() -> None:
    recorded = make_stage_log(stages=STAGES, steps=STEPS)
    unknown = Goal(query="cue", of="value", relation="<", bound=0.1)

    with pytest.raises(InputError, match=r"repair\.intervention"):
        repair(recorded, SKIP_LAST, of=1)
    with pytest.raises(InputError, match=r"repair\.goals\[0\]\.query"):
        repair(recorded, SKIP_LAST, goals=(unknown,))


def record_with_buffers() -> tuple[RecordedRun, list[dict[str, Tensor]]]:
    """Record two stages of a network with batch norm and tied weights; return its states too."""
    sink = MemorySink.new()
    network = TiedNormed()
    recorder = Recorder(sink, network, run_name="normed", export=export_once, clock=FixedClock())
    columns = make_columns()
    data = recorder.dataset("data", columns)
    generator = torch.Generator().manual_seed(7)
    states = []
    for name in ("first", "second"):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        with recorder.stage(
            name, optimizer=optimizer, loss="cross_entropy", inputs={"x": "x"}, target="label"
        ) as stage:
            for _ in range(STEPS):
                rows = torch.randperm(48, generator=generator)[:8]
                stage.batch(data, rows)
                optimizer.zero_grad()
                output = network(columns["x"][rows])
                nn.functional.cross_entropy(output, columns["label"][rows]).backward()
                optimizer.step()
        states.append({k: v.clone() for k, v in network.state_dict().items()})
    evaluation = write_evaluation_set("held-out", make_columns(examples=24, seed=9), sink.blobs)
    log = recorder.log
    recorded = RecordedRun(
        log=log, digest=digest_of(log), blobs=sink.blobs, evaluation=evaluation, model=network
    )
    return recorded, states


class TiedNormed(nn.Module):
    """A layer used twice under two names, a batch norm with running statistics and a counter."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.inward = nn.Linear(4, 4, bias=False).double()
        self.outward = nn.Linear(4, 4, bias=False).double()
        self.outward.weight = self.inward.weight
        self.norm = nn.BatchNorm1d(4).double()
        self.head = nn.Linear(4, 3).double()
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.norm(self.outward(self.inward(x)))))


def test_buffers_and_tied_names_are_those_of_the_counterfactual() -> None:
    recorded, states = record_with_buffers()

    report = repair(recorded, Intervention(kind="skip", stage="second"))

    found = tensors_of(recorded, report)
    assert set(found) == set(recorded_tensors(recorded, 2))
    floating = [name for name, tensor in found.items() if tensor.is_floating_point()]
    assert all(torch.equal(found[name], states[0][name]) for name in floating)
    assert "norm.running_mean" in floating
    counter = "norm.num_batches_tracked"  # no part of a state: as recorded at the end
    assert torch.equal(found[counter], states[1][counter])


def test_same_file_comes_out_of_a_folder_and_of_memory(tmp_path) -> None:
    recorded = make_stage_log(stages=2, steps=STEPS, folder=tmp_path)
    in_memory = make_stage_log(stages=2, steps=STEPS)
    assert isinstance(recorded.blobs, FolderBlobs)
    last = Intervention(kind="skip", stage="stage1")

    first, second = repair(recorded, last), repair(in_memory, last)

    assert first.repair.model.digest == second.repair.model.digest
