"""Flow: on a quadratic loss many small steps follow it, whatever the momentum."""

from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from auditor.dynamics.displacement import Twins
from auditor.dynamics.flow import flow
from auditor.dynamics.run import Run
from auditor.dynamics.trajectory import Lane, advance
from auditor.errors import UnsupportedError
from auditor.plan.curvature import SampledCurvature
from auditor.plan.request import Intervention
from auditor.record.recorder import Recorder
from auditor.stagelog.digest import digest_of
from tests.support.builders import FixedClock, MemorySink, export_once, make_stage_log
from tests.support.cases import quiet

EXAMPLES = 24
CURVATURE = SampledCurvature(examples=EXAMPLES, seed=0)


@dataclass(frozen=True, kw_only=True)
class Training:
    """Two stages of full-batch regression that cover the same time with more or fewer steps."""

    steps: int
    momentum: float = 0.0
    nesterov: bool = False
    dampening: float = 0.0
    decay: float = 0.0
    keep: bool = False

    @property
    def rate(self) -> float:
        return 4.0 / self.steps * (1 - self.momentum) / (1 - self.dampening)

    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            network.parameters(),
            lr=self.rate,
            momentum=self.momentum,
            nesterov=self.nesterov,
            dampening=self.dampening,
            weight_decay=self.decay,
        )


@cache
def recorded(training: Training) -> Run:
    sink, network = MemorySink.new(), nn.Linear(4, 1).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    recorder = Recorder(sink, network, run_name="flow", export=export_once, clock=FixedClock())
    optimizer = training.optimizer(network)
    for name in ("first", "second"):
        if not training.keep:
            optimizer = training.optimizer(network)
        x = torch.randn(EXAMPLES, 4, generator=generator, dtype=torch.float64)
        y = torch.randn(EXAMPLES, 1, generator=generator, dtype=torch.float64)
        data = recorder.dataset(name, {"x": x, "y": y})
        with recorder.stage(
            name, optimizer=optimizer, loss="mse", inputs={"x": "x"}, target="y", self_check="off"
        ) as stage:
            for _ in range(training.steps):
                stage.batch(data, torch.arange(EXAMPLES))
                optimizer.zero_grad()
                nn.functional.mse_loss(network(x), y).backward()
                optimizer.step()
    return Run(recorder.log, digest_of(recorder.log), sink.blobs)


def skipped(run: Run) -> Twins:
    skip = Lane(Intervention(kind="skip", stage="first"))
    states = [run.boundary(0)]
    return advance(run, 0, states, lanes=[skip], on_block=quiet).states[0], run.boundary(1)


def moved(run: Run, *, by: str) -> Tensor:
    """Return what has become of the displacement at the end of the second stage, [P]."""
    twins = skipped(run)
    if by == "flow":
        end = flow(run, 1, [twins], curvature=CURVATURE)[0]
    else:
        end = advance(run, 1, [twins[0]], lanes=[Lane()], on_block=quiet).states[0]
    return end.theta - run.boundary(2).theta


def error(training: Training) -> float:
    run = recorded(training)
    truth = moved(run, by="retraining")
    return float((moved(run, by="flow") - truth).norm() / truth.norm())


@pytest.mark.parametrize(
    "of",
    [
        {},
        {"decay": 0.05},
        {"momentum": 0.8},
        {"momentum": 0.8, "keep": True},
        {"momentum": 0.8, "nesterov": True, "keep": True},
        {"momentum": 0.8, "dampening": 0.3},
    ],
    ids=str,
)
def test_steps_follow_the_flow_as_they_become_small(of: dict[str, float]) -> None:
    coarse, fine = (error(Training(steps=steps, **of)) for steps in (400, 800))

    assert fine < 0.1
    assert 1.7 < coarse / fine < 2.3  # first order in the learning rate


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_displaced_velocity_coasts(nesterov: bool) -> None:
    def error_of(steps: int) -> float:
        run = recorded(Training(steps=steps, momentum=0.8, nesterov=nesterov, keep=True))
        twin = run.boundary(1)
        velocity = twin.slots["momentum_buffer"] + torch.arange(5.0, dtype=torch.float64)
        start = replace(twin, slots={**twin.slots, "momentum_buffer": velocity})
        end = advance(run, 1, [start], lanes=[Lane()], on_block=quiet).states[0]
        truth = end.theta - run.boundary(2).theta
        found = flow(run, 1, [(start, twin)], curvature=CURVATURE)[0].theta
        return float((found - run.boundary(2).theta - truth).norm() / truth.norm())

    coarse, fine = error_of(400), error_of(800)

    assert fine < 0.1
    assert 1.7 < coarse / fine < 2.3


def test_adaptive_optimizers_are_refused() -> None:
    built = make_stage_log(stages=2, optimizer="adamw")
    run = Run(built.log, built.digest, built.blobs)

    with pytest.raises(UnsupportedError, match="curvature exact, ggn or ekfac"):
        flow(run, 1, [(run.boundary(1), run.boundary(1))], curvature=CURVATURE)
