"""What a backward sweep keeps: bounded by two levels of checkpoints, whatever is kept."""

from dataclasses import replace
from math import ceil, sqrt

import pytest
import torch
from torch import Tensor

from auditor.dynamics import adjoint
from auditor.dynamics.pullback import Pullback
from auditor.dynamics.run import Run
from tests.identities.test_aa_score import cotangent
from tests.support.cases import CASES, make_run, quiet

STEPS = 100


@pytest.fixture(scope="module")
def run() -> Run:
    return make_run((replace(CASES["momentum kept"][0], steps=STEPS),))


def swept(run: Run) -> Tensor:
    return adjoint.sweep(run, cotangent(run), curvature="exact", on_block=quiet)


def test_effects_do_not_depend_on_what_is_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = swept(run)

    for bound in ("HELD_BYTES", "KEEP_BYTES"):
        monkeypatch.setattr(adjoint, bound, 0)
        torch.testing.assert_close(swept(run), whole, rtol=1e-10, atol=1e-14)


def test_two_levels_keep_the_square_root_of_the_steps(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adjoint, "HELD_BYTES", 0)
    monkeypatch.setattr(adjoint, "KEEP_BYTES", 0)
    most = live_at_most(monkeypatch, run)

    # As many checkpoints as steps between two of them, of three tensors and two of the present.
    assert most <= 3 * (2 * ceil(sqrt(STEPS)) + 4)


def test_one_level_keeps_every_step(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert live_at_most(monkeypatch, run) >= 2 * STEPS


def live_at_most(monkeypatch: pytest.MonkeyPatch, run: Run) -> int:
    """Return the largest number of live tensors of theta's size, seen before every way back."""
    import gc

    size = run.boundary(1).theta.numel()
    seen: list[int] = []
    back = Pullback.back

    def counted() -> int:
        tensors = [o for o in gc.get_objects() if type(o) is Tensor and o.numel() == size]
        return len({tensor.untyped_storage().data_ptr() for tensor in tensors})

    def watched(self: Pullback, *arguments: object, **options: object) -> object:
        seen.append(counted())
        return back(self, *arguments, **options)

    monkeypatch.setattr(Pullback, "back", watched)
    gc.collect()
    gc.freeze()  # what lives already is not looked at again, before every step
    try:
        swept(run)
    finally:
        gc.unfreeze()
    return max(seen)
