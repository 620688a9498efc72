"""float16 autocast under a gradient scaler: recorded, replayed and retrained, as plain torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_

from auditor.dynamics.adjoint import sweep
from auditor.dynamics.coarse import coarse_advance
from auditor.dynamics.consistency import check_segment
from auditor.dynamics.minibatches import Lane
from auditor.dynamics.run import Run
from auditor.dynamics.segment_curvature import stage_ekfac
from auditor.dynamics.trajectory import advance, replay
from auditor.errors import UnsupportedError
from auditor.plan.request import Intervention
from auditor.record.recorder import Recorder
from auditor.record.stage_settings import SelfCheck
from auditor.stagelog.digest import digest_of
from auditor.stagelog.log import Clipping
from auditor.stagelog.schedule import Schedule, write_schedule
from tests.support.builders import FixedClock, MemorySink, export_once
from tests.support.cases import quiet
from tests.support.memory_blobs import MemoryBlobs

STEPS = 12
TOLERANCE = 1e-6
"""Of the way that the parameters go: one lane repeats torch's operations."""
LANES = 0.05
"""The same for several lanes, which sum in another order: float16 has an epsilon of 0.1 %, and Adam
moves what has a small gradient as far as the rest."""


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 3)
    )


def columns_of(stage: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(stage)
    x = torch.randn(24, 4, generator=generator)
    return {"x": x, "y": (x @ torch.randn(4, 3, generator=generator)).argmax(1)}


@dataclass(kw_only=True)
class Trained:
    """A training in plain torch: parameters before each step that was taken, and what was done."""

    model: nn.Module = field(default_factory=network)
    states: list[list[dict[str, Tensor]]] = field(default_factory=list)
    scales: list[list[float]] = field(default_factory=list)
    refused: list[list[int]] = field(default_factory=list)

    def copy(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.model.named_parameters()}


def optimizer_of(kind: str, model: nn.Module) -> torch.optim.Optimizer:
    if kind == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=1e-2)
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def train(
    kind: str,
    *,
    declared: Mapping[str, Any] | None = None,
    clip: float | None = None,
    init_scale: float = 2.0**19,
    skip: frozenset[int] = frozenset(),
    declare_scaler: bool = True,
    factor: float = 1.0,
    self_check: SelfCheck = "replay",
) -> tuple[Trained, Run | None]:
    """Train two stages; the scaler starts too high, refuses some steps, and grows again."""
    trained = Trained()
    model = trained.model
    sink = MemorySink(blobs=MemoryBlobs(), manifests=[])
    recorder = Recorder(sink, model, run_name="half", export=export_once, clock=FixedClock())
    for index in range(2):
        columns = columns_of(index)
        data = recorder.dataset(f"data{index}", columns)
        if index in skip:
            trained.states.append([trained.copy()])
            continue
        scaler = torch.amp.GradScaler("cpu", init_scale=init_scale, growth_interval=3)
        optimizer = optimizer_of(kind, model)
        states, scales, refused = [trained.copy()], [], []
        given: dict[str, Any] = {"scaler": scaler} if declare_scaler else {}
        with recorder.stage(
            f"stage{index}", optimizer=optimizer, loss="cross_entropy", inputs={"x": "x"},
            target="y", self_check=self_check, cadence_steps=4, **given, **(declared or {}),
        ) as stage:  # fmt: skip
            generator = torch.Generator().manual_seed(index)
            for step in range(STEPS):
                rows = torch.randperm(24, generator=generator)[:8]
                stage.batch(data, rows, torch.full((8,), factor))
                optimizer.zero_grad()
                with torch.autocast("cpu", dtype=torch.float16):
                    logits = model(columns["x"][rows])
                loss = factor * functional.cross_entropy(logits.float(), columns["y"][rows])
                scale = scaler.get_scale()
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                if clip is not None:
                    scaler.unscale_(optimizer)
                    clip_grad_norm_(model.parameters(), clip)
                scaler.step(optimizer)
                scaler.update()
                if scaler.get_scale() < scale:
                    refused.append(step)
                    if not declare_scaler:
                        stage.skip_step()
                else:
                    states.append(trained.copy())
                    scales.append(scale)
        trained.states.append(states)
        trained.scales.append(scales)
        trained.refused.append(refused)
    if skip:
        return trained, None
    return trained, Run(recorder.log, digest_of(recorder.log), sink.blobs)


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "SGD": ("sgd", {}),
    "AdamW": ("adamw", {}),
    "AdamW, clipped": (
        "adamw", {"clip": 0.3, "declared": {"clipping": Clipping(kind="norm", limit=0.3)}},
    ),
}  # fmt: skip


def distance(run: Run, stage: int, theta: Tensor, truth: Mapping[str, Tensor]) -> float:
    """Return how far theta is from the truth, in ways that the stage goes."""
    want = run.layout(stage).flatten(truth)
    way = (run.boundary(stage + 1).theta - run.boundary(stage).theta).norm()
    return float((theta - want).norm() / way)


@pytest.mark.parametrize(("kind", "options"), CASES.values(), ids=CASES.keys())
def test_every_step_is_that_of_torch(kind: str, options: dict[str, Any]) -> None:
    trained, run = train(kind, **options)
    assert run is not None

    for index in range(2):
        stage, states = run.log.stages[index], trained.states[index]
        scales = run.schedule(index).columns["loss_scale"][:, 0].tolist()
        assert stage.precision == "autocast float16 over float32"
        assert (stage.steps, stage.loss_scale) == (len(states) - 1, "recorded")
        assert scales == trained.scales[index]
        assert len(set(scales)) > 1  # it fell, and grew again
        assert len(stage.skipped or ()) == len(trained.refused[index]) > 0
        state = run.transition(index)(run.boundary(index))
        for step in range(stage.steps):
            state = replay(
                run, index, [state], lanes=[Lane()], steps=range(step, step + 1), on_block=quiet
            ).states[0]
            assert distance(run, index, state.theta, states[step + 1]) < TOLERANCE
        assert check_segment(run, index, on_block=quiet).verdict == "consistent"


def without_first_stage(run: Run, *, lanes: int = 1) -> list[Tensor]:
    skip = Intervention(stage="stage0", kind="skip")
    states = advance(
        run, 0, [run.boundary(0)], lanes=[Lane(intervention=skip)], on_block=quiet
    ).states * lanes  # fmt: skip
    ends = advance(run, 1, states, lanes=[Lane()] * lanes, on_block=quiet).states
    return [state.theta for state in ends]


def test_retraining_without_a_stage_is_torch_without_it_at_the_recorded_scales() -> None:
    """The scale is a power of two that neither training overflows at, so it changes nothing."""
    _, run = train("adamw", init_scale=2.0**10)
    truth, _ = train("adamw", init_scale=2.0**10, skip=frozenset({0}))
    assert run is not None

    found = without_first_stage(run)[0]

    assert distance(run, 1, found, truth.states[1][-1]) < TOLERANCE
    assert distance(run, 1, run.boundary(2).theta, truth.states[1][-1]) > 0.1
    for lane in without_first_stage(run, lanes=3):
        assert distance(run, 1, lane, truth.states[1][-1]) < LANES


def with_schedule(run: Run, schedule: Schedule) -> Run:
    digest = run.blobs.write(write_schedule(schedule))
    first = run.log.stages[0].model_copy(update={"schedule": digest})
    log = run.log.model_copy(update={"stages": (first, *run.log.stages[1:])})
    return Run(log, digest_of(log), run.blobs)


def test_a_counterfactual_step_that_overflows_is_refused_as_the_scaler_does() -> None:
    _, run = train("sgd", init_scale=2.0**10)
    assert run is not None
    scales = run.schedule(0).columns["loss_scale"].copy()
    scales[5:] = 2.0**30
    columns = {**run.schedule(0).columns, "loss_scale": scales}
    run = with_schedule(run, Schedule(first_step=0, columns=columns))
    state = run.transition(0)(run.boundary(0))
    lanes = [Lane(), Lane()]

    five = replay(run, 0, [state] * 2, lanes=lanes, steps=range(5), on_block=quiet).states
    after = replay(run, 0, five, lanes=lanes, steps=range(5, 8), on_block=quiet).states

    assert not torch.equal(five[0].theta, state.theta)
    for before, now in zip(five, after, strict=True):
        assert torch.equal(before.theta, now.theta)
        assert torch.equal(before.slots["momentum_buffer"], now.slots["momentum_buffer"])


def test_adjoint_follows_the_scaled_steps() -> None:
    """The derivative of a scaled step is that of the step, to the rounding of float16."""
    _, run = train("sgd", init_scale=2.0**10)
    assert run is not None
    plain = tuple(stage.model_copy(update={"precision": "float32"}) for stage in run.log.stages)
    exact = Run(run.log.model_copy(update={"stages": plain}), run.log_digest, run.blobs)

    seed = run.boundary(2)
    found, want = (
        sweep(one, seed, curvature="none", on_block=quiet) for one in (run, exact)
    )  # fmt: skip

    torch.testing.assert_close(found, want, rtol=2e-2, atol=2e-2)


def test_denied_scales_of_a_scaler_are_inconsistent() -> None:
    """Without its scale the small gradients of this loss are lost in float16."""
    _, run = train("adamw", init_scale=2.0**24, factor=1e-5)
    assert run is not None
    stages = tuple(stage.model_copy(update={"loss_scale": None}) for stage in run.log.stages)
    denied = Run(run.log.model_copy(update={"stages": stages}), run.log_digest, run.blobs)

    assert check_segment(run, 0, on_block=quiet).verdict == "consistent"
    assert check_segment(denied, 0, on_block=quiet).verdict == "inconsistent"


def test_an_undeclared_scaler_can_be_recorded_by_hand() -> None:
    trained, run = train("sgd", declare_scaler=False, self_check="off")
    assert run is not None
    stage = run.log.stages[0]

    assert (stage.loss_scale, len(stage.skipped or ())) == (None, len(trained.refused[0]))


def test_coarse_replay_and_eigenbases_refuse_scales_by_name() -> None:
    _, run = train("sgd")
    assert run is not None

    with pytest.raises(UnsupportedError, match="loss_scale"):
        coarse_advance(
            run, 0, [run.boundary(0)], lanes=[Lane()], block_steps=2, curvature="none",
            on_block=quiet,
        )  # fmt: skip
    with pytest.raises(UnsupportedError, match="loss_scale"):
        stage_ekfac(run, 0, examples=8, seed=0)


def test_skipped_steps_of_batch_norm_are_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    sink = MemorySink(blobs=MemoryBlobs(), manifests=[])
    recorder = Recorder(sink, model, run_name="half", export=export_once, clock=FixedClock())
    columns = columns_of(0)
    data = recorder.dataset("data", columns)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30)

    def loop() -> None:
        with recorder.stage(
            "only", optimizer=optimizer, loss="cross_entropy", inputs={"x": "x"}, target="y",
            scaler=scaler,
        ) as stage:  # fmt: skip
            for _ in range(3):
                stage.batch(data, torch.arange(8))
                optimizer.zero_grad()
                with torch.autocast("cpu", dtype=torch.float16):
                    loss = functional.cross_entropy(model(columns["x"][:8]), columns["y"][:8])
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                scaler.step(optimizer)
                scaler.update()

    with pytest.raises(UnsupportedError, match="running statistics"):
        loop()
