"""Dropout with recorded masks: trained in plain torch, replayed and retrained."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from auditor.dynamics.adjoint import sweep
from auditor.dynamics.coarse import coarse_advance
from auditor.dynamics.consistency import check_segment
from auditor.dynamics.minibatches import Lane
from auditor.dynamics.run import Run
from auditor.dynamics.segment_curvature import stage_ekfac
from auditor.dynamics.trajectory import advance
from auditor.errors import StageLogError, UnsupportedError
from auditor.plan.request import Intervention
from auditor.record.dropout import with_recorded_dropout
from auditor.record.recorder import Recorder
from auditor.stagelog.digest import digest_of
from tests.support.adapter_runs import retrained_without
from tests.support.builders import FixedClock, MemorySink, export_once
from tests.support.cases import quiet
from tests.support.memory_blobs import MemoryBlobs

STEPS = 20
CLASSES = 3


class Texts(nn.Module):
    """A small attention model: dropout on [B, T, d] and on rows of all tokens, [B T, d]."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.mix = nn.Linear(8, 8)
        self.head = nn.Linear(8, CLASSES)
        self.drop_embedding = nn.Dropout(0.1)
        self.drop_rows = nn.Dropout(0.3)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Return logits [B, classes] of ids [B, T]."""
        hidden = self.drop_embedding(self.embed(x))
        scores = (hidden @ hidden.transpose(1, 2)).softmax(-1)
        rows = self.drop_rows(torch.tanh(self.mix(scores @ hidden)).flatten(0, 1))
        logits: Tensor = self.head(rows.unflatten(0, (-1, x.shape[1])).mean(1))
        return logits


def perceptron(dtype: torch.dtype) -> nn.Module:
    return nn.Sequential(
        nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 16), nn.Tanh(), nn.Dropout(0.2),
        nn.Linear(16, CLASSES),
    ).to(dtype)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is trained.

    Attributes:
        kind: ``texts`` or ``vectors``.
        dtype: Of the parameters.
        microbatches: Sizes of a step's.
        adam: Whether AdamW trains it.
    """

    kind: str = "vectors"
    dtype: torch.dtype = torch.float32
    microbatches: tuple[int, ...] = (8,)
    adam: bool = False

    def network(self) -> nn.Module:
        torch.manual_seed(0)
        model = Texts().to(self.dtype) if self.kind == "texts" else perceptron(self.dtype)
        return with_recorded_dropout(model)

    def columns(self, seed: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        y = torch.randint(CLASSES, (32,), generator=generator)
        if self.kind == "texts":
            return {"x": torch.randint(11, (32, 5), generator=generator), "y": y}
        return {"x": torch.randn(32, 4, generator=generator).to(self.dtype), "y": y}

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        if self.adam:
            return torch.optim.AdamW(model.parameters(), lr=1e-2)
        return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def copy_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def train(
    case: Case, *, skip: frozenset[int] = frozenset(), **declared: Any
) -> tuple[list[dict[str, Tensor]], Run]:
    """Train two stages; return the parameters at every boundary and the recorded run."""
    model = case.network().train()
    sink = MemorySink(blobs=MemoryBlobs(), manifests=[])
    recorder = Recorder(sink, model, run_name="masks", export=export_once, clock=FixedClock())
    boundaries = [copy_of(model)]
    for index in range(2):
        columns = case.columns(index)
        data = recorder.dataset(f"data{index}", columns)
        optimizer = case.optimizer(model)
        if index in skip:
            boundaries.append(copy_of(model))
            continue
        with recorder.stage(
            f"stage{index}", optimizer=optimizer, loss="cross_entropy", inputs={"x": "x"},
            target="y", accumulation=len(case.microbatches), cadence_steps=10, **declared,
        ) as stage:  # fmt: skip
            generator = torch.Generator().manual_seed(index)
            for _ in range(STEPS):
                order = torch.randperm(32, generator=generator)[: sum(case.microbatches)]
                optimizer.zero_grad()
                for rows in torch.split(order, list(case.microbatches)):
                    stage.batch(data, rows)
                    loss = functional.cross_entropy(model(columns["x"][rows]), columns["y"][rows])
                    (loss / len(case.microbatches)).backward()  # type: ignore[no-untyped-call]
                evaluate(model, columns["x"])
                optimizer.step()
        boundaries.append(copy_of(model))
    return boundaries, Run(recorder.log, digest_of(recorder.log), sink.blobs)


def evaluate(model: nn.Module, x: Tensor) -> None:
    """Look at the model between two steps, as loops do: no place of a step is used up."""
    model.eval()
    with torch.no_grad():
        first, again = model(x), model(x)
    assert torch.equal(first, again)
    model.train()


CASES = {
    "float32": Case(),
    "float32, AdamW": Case(adam=True),
    "unequal microbatches": Case(microbatches=(3, 8, 5)),
    "attention, float64": Case(kind="texts", dtype=torch.float64),
}


def named(run: Run, stage: int, theta: Tensor) -> dict[str, Tensor]:
    return run.layout(stage).unflatten(theta)


def close(found: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> None:
    """To a relative 1e-5 after 20 steps in float32."""
    for name, tensor in truth.items():
        exact = tensor.dtype == torch.float64
        torch.testing.assert_close(
            found[name], tensor, rtol=1e-9 if exact else 1e-5, atol=1e-11 if exact else 2e-6
        )


def without_first_stage(run: Run, *, lanes: int = 1) -> list[Tensor]:
    skip = Lane(intervention=Intervention(stage="stage0", kind="skip"))
    state = advance(run, 0, [run.boundary(0)], lanes=[skip], on_block=quiet).states[0]
    ends = advance(run, 1, [state] * lanes, lanes=[Lane()] * lanes, on_block=quiet).states
    return [end.theta for end in ends]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_replay_is_the_training_and_retraining_is_torch_without_the_stage(case: Case) -> None:
    boundaries, run = train(case)
    truth, _ = train(case, skip=frozenset({0}))

    assert [stage.stochastic.dropout for stage in run.log.stages] == ["seeded"] * 2
    assert run.log.stages[0].stochastic.seed != run.log.stages[1].stochastic.seed
    for index in range(2):
        end = advance(run, index, [run.boundary(index)], lanes=[Lane()], on_block=quiet).states[0]
        close(named(run, index, end.theta), boundaries[index + 1])
        assert check_segment(run, index, on_block=quiet).verdict == "consistent"
    for lane in without_first_stage(run, lanes=2):
        close(named(run, 1, lane), truth[2])
        assert not torch.allclose(lane, run.boundary(2).theta, atol=1e-3)


def test_an_audit_retrains_under_the_recorded_masks() -> None:
    case = Case()
    boundaries, run = train(case)
    truth, _ = train(case, skip=frozenset({0}))
    held_out = case.columns(9)

    def loss(parameters: Mapping[str, Tensor]) -> float:
        model = perceptron(case.dtype).eval()
        model.load_state_dict(dict(parameters))
        with torch.no_grad():
            return functional.cross_entropy(model(held_out["x"]), held_out["y"]).item()

    assert isinstance(run.blobs, MemoryBlobs)
    report = retrained_without(run.log, run.blobs, stages=["stage0"], held_out=held_out, target="y")

    effect = loss(boundaries[2]) - loss(truth[2])
    assert report.effects[0].value == pytest.approx(effect, rel=1e-3)
    assert {finding.verdict for finding in report.log.consistency} == {"consistent"}


@pytest.mark.parametrize("changes", [{"dropout": "none", "seed": None}, {"seed": 1}])
def test_a_log_that_denies_its_masks_is_inconsistent(changes: dict[str, object]) -> None:
    _, run = train(Case())
    stages = tuple(
        stage.model_copy(update={"stochastic": stage.stochastic.model_copy(update=changes)})
        for stage in run.log.stages
    )
    other = Run(run.log.model_copy(update={"stages": stages}), run.log_digest, run.blobs)

    assert check_segment(other, 0, on_block=quiet).verdict == "inconsistent"


def test_interventions_keep_the_masks_of_their_places() -> None:
    """A replaced example is dropped out as the one before it: torch with other data, same masks."""
    case = Case(dtype=torch.float64)
    _, run = train(case)
    swap = Intervention.model_validate({
        "stage": "stage1", "kind": "replace",
        "reference": {"dataset": "data0", "order": "recorded"},
    })  # fmt: skip

    class Swapped(Case):
        @override
        def columns(self, seed: int) -> dict[str, Tensor]:
            return super().columns(0)

    truth, _ = train(Swapped(dtype=torch.float64))
    found = advance(
        run, 1, [run.boundary(1)], lanes=[Lane(intervention=swap)], on_block=quiet
    ).states[0]  # fmt: skip

    close(named(run, 1, found.theta), truth[2])


def test_sub_samples_keep_the_masks_of_their_examples() -> None:
    _, run = train(Case())
    lanes = [Lane(fraction=0.5, seed=1), Lane(fraction=0.5, seed=2)]

    states = advance(run, 0, [run.boundary(0)] * 2, lanes=lanes, on_block=quiet).states
    alone = advance(run, 0, [run.boundary(0)], lanes=lanes[1:], on_block=quiet).states[0]

    assert not torch.allclose(states[0].theta, states[1].theta, atol=1e-3)
    torch.testing.assert_close(states[1].theta, alone.theta, rtol=1e-4, atol=1e-5)


def test_scores_coarse_replay_and_eigenbases_follow_the_masks() -> None:
    """The gate of a step has the derivative that two gated replays differ by."""
    _, run = train(Case(dtype=torch.float64))
    seed = run.boundary(2)
    seed = seed.replaced([torch.ones_like(seed.theta), *map(torch.zeros_like, seed.tensors[1:])])

    effects = sweep(run, seed, curvature="exact", on_block=quiet)

    step, size = {"first_step": 30, "end_step": 31}, 1e-5
    ends = []
    for alpha in (1.0, 1 - size):
        fade = Intervention.model_validate({
            "stage": "stage1", "kind": "fade", "alpha": alpha, "steps": step,
        })  # fmt: skip
        lane = Lane(intervention=fade)
        ends.append(advance(run, 1, [run.boundary(1)], lanes=[lane], on_block=quiet).states[0])
    slope = float((ends[0].theta - ends[1].theta).sum()) / size
    assert float(effects[30]) == pytest.approx(slope, rel=1e-3)
    (state,) = coarse_advance(
        run, 0, [run.boundary(0)], lanes=[Lane()], block_steps=1, curvature="none", on_block=quiet
    )  # fmt: skip
    torch.testing.assert_close(state.theta, run.boundary(1).theta, rtol=1e-8, atol=1e-9)
    assert stage_ekfac(run, 0, examples=16, seed=0).eigen is not None


class Own(nn.Module):
    """Attention that reads the rate of a module and drops by a function."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.dropout = nn.Linear(4, CLASSES), nn.Dropout(0.1)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        rate = getattr(self.dropout, "rate", 0.1)
        return functional.dropout(self.linear(x), rate, training=self.training)


def record_one(model: nn.Module, *, parts: bool = False, loss: str = "cross_entropy") -> Any:
    case, columns = Case(), Case().columns(0)
    recorder = Recorder(
        MemorySink(blobs=MemoryBlobs(), manifests=[]), model, run_name="one", export=export_once,
        clock=FixedClock(),
    )  # fmt: skip
    data = recorder.dataset("data", columns)
    optimizer = case.optimizer(model)
    with recorder.stage(
        "only", optimizer=optimizer, loss=loss, inputs={"x": "x"}, target="y"
    ) as stage:
        for step in range(3):
            rows = torch.arange(8) + step
            stage.batch(data, rows)
            optimizer.zero_grad()
            x = columns["x"][rows]
            logits = nn.Sequential(*model.children())(x) if parts else model(x)
            functional.cross_entropy(logits, columns["y"][rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return recorder.log


def test_what_cannot_be_followed_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="does not: attention"):
        record_one(with_recorded_dropout(Own()))
    with pytest.raises(StageLogError, match="a part of it"):
        record_one(with_recorded_dropout(perceptron(torch.float32)), parts=True)
    half = with_recorded_dropout(perceptron(torch.float32))
    half[2].eval()  # type: ignore[index]
    with pytest.raises(UnsupportedError, match="all active"):
        record_one(half)


def test_a_frozen_model_has_no_masks() -> None:
    log = record_one(with_recorded_dropout(perceptron(torch.float32)).eval())

    assert (log.stages[0].stochastic.dropout, log.stages[0].stochastic.seed) == ("none", None)
