"""On a CUDA device: the same figures as on the CPU, for lanes alone and together, and their memory.

``--gpu-device cpu`` runs them without one, to see that the tests are right themselves.
"""

import pytest
import torch
from torch import Tensor

from auditor.dynamics.minibatches import Lane
from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState
from auditor.dynamics.trajectory import advance
from auditor.plan.request import Intervention
from service.executors.device_memory import meter_of
from service.executors.engine import open_engine
from tests.support.cases import CASES, make_run, mlp_model, quiet
from tests.support.memory_blobs import MemoryBlobs

pytestmark = pytest.mark.gpu

STAGE = 1
LANES = (
    Lane(),
    Lane(Intervention(kind="fade", stage="stage1", alpha=0.5)),
    Lane(fraction=0.5, replica=1),
)


@pytest.fixture
def device(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--gpu-device"))


def on(device: str, run: Run) -> Run:
    """Return the same log, computed elsewhere."""
    return Run(run.log, run.log_digest, run.blobs, device=device, model_of=mlp_model)


def ends(run: Run, lanes: tuple[Lane, ...]) -> list[TrainingState]:
    starts = [run.boundary(STAGE) for _ in lanes]
    return advance(run, STAGE, starts, lanes=list(lanes), on_block=quiet).states


def far(one: Tensor, other: Tensor) -> float:
    return float((one.cpu() - other.cpu()).abs().max() / other.abs().max())


@pytest.mark.parametrize("case", CASES)
def test_every_optimizer_ends_where_it_ends_on_the_cpu(case: str, device: str) -> None:
    run = make_run(CASES[case])

    there = ends(on(device, run), LANES)

    for state, here in zip(there, ends(run, LANES), strict=True):
        assert state.theta.device.type == device.partition(":")[0]
        assert far(state.theta, here.theta) < 1e-10


@pytest.mark.parametrize("case", ["momentum kept", "adamw kept"])
def test_lanes_together_are_as_if_alone(case: str, device: str) -> None:
    run = on(device, make_run(CASES[case]))

    together = ends(run, LANES)

    for lane, state in zip(LANES, together, strict=True):
        (single,) = ends(run, (lane,))
        assert far(state.theta, single.theta) < 1e-10


def test_the_same_lanes_give_the_same_bits_again(device: str) -> None:
    run = on(device, make_run(CASES["adamw kept"], dtype=torch.float32))

    first, again = ends(run, LANES), ends(run, LANES)

    assert all(torch.equal(a.theta, b.theta) for a, b in zip(first, again, strict=True))


def test_a_worker_opens_the_device_and_knows_its_memory(device: str) -> None:
    threads = torch.get_num_threads()
    try:
        open_engine(MemoryBlobs(), device=device, threads=threads)  # a known computation is right
    finally:
        torch.use_deterministic_algorithms(mode=False)
    meter = meter_of(device)
    budget = meter.budget_bytes(workers=1)
    meter.begin()
    held = torch.ones(2**24, device=device)

    assert budget is not None
    assert budget > 2**26
    assert (meter.peak_bytes() or 0) >= held.numel() * held.element_size() // 2
