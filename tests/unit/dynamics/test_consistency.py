"""Replay checks: verdicts, pieces between checkpoints, resolution."""

import torch

from auditor.dynamics.consistency import check_segment
from auditor.dynamics.run import Run
from auditor.dynamics.trajectory import Lane, replay
from tests.support.cases import (
    CASES,
    MOMENTUM,
    StageSpec,
    make_run,
    mlp_model,
    quiet,
    sgd,
    write_checkpoint,
)


def with_cadence(run: Run, at: int) -> Run:
    """Return the run with one more checkpoint inside stage 1."""
    stage = run.log.stages[1]
    start = run.transition(1)(run.boundary(1))
    state = replay(run, 1, [start], lanes=[Lane()], steps=range(at), on_block=quiet).states[0]
    checkpoint = write_checkpoint(state, run.layout(1), blobs=run.blobs, step=stage.first_step + at)
    changed = stage.model_copy(update={"checkpoints": (checkpoint, *stage.checkpoints)})
    stages = (run.log.stages[0], changed, *run.log.stages[2:])
    log = run.log.model_copy(update={"stages": stages})
    return Run(log, run.log_digest, run.blobs, model_of=mlp_model)


def test_every_recorded_checkpoint_is_compared() -> None:
    run = with_cadence(make_run(CASES["momentum kept"]), 2)

    finding = check_segment(run, 1, on_block=quiet)

    assert finding.verdict == "consistent"
    assert finding.checkpoints == 2
    assert finding.deviation == 0.0
    assert finding.tolerance > 0.0


def test_moved_boundary_is_inconsistent() -> None:
    run = make_run(CASES["momentum kept"])
    stages = list(run.log.stages)
    early = stages[0].checkpoints[-1].model_copy(update={"step": stages[1].end_step})
    stages[1] = stages[1].model_copy(update={"checkpoints": (early,)})
    log = run.log.model_copy(update={"stages": tuple(stages)})

    finding = check_segment(
        Run(log, run.log_digest, run.blobs, model_of=mlp_model), 1, on_block=quiet
    )

    assert finding.verdict == "inconsistent"
    assert finding.worst


def test_chaotic_stage_is_not_resolvable() -> None:
    # At this rate steps overshoot and stretch differences: a rounding error grows beyond 1e4.
    run = make_run((MOMENTUM, StageSpec(groups=(sgd(lr=40.0),), steps=60)))

    finding = check_segment(run, 1, on_block=quiet)

    assert finding.verdict == "not resolvable"
    assert finding.amplification > 1e4


def test_progress_covers_the_stage() -> None:
    run = make_run(CASES["sgd"])
    told: list[tuple[int, int]] = []

    check_segment(run, 1, on_block=lambda *done: told.append(done))

    assert told[-1] == (5, 5)


def test_frozen_parameters_must_not_have_moved() -> None:
    run = make_run(CASES["frozen body"])
    end = run.boundary(2)
    named = run.layout(1).unflatten(end.theta)
    named["body.bias"] = named["body.bias"] + 1e-6
    moved = end.replaced((run.layout(1).flatten(named), *end.tensors[1:]))
    checkpoint = write_checkpoint(moved, run.layout(1), blobs=run.blobs, step=10)
    stage = run.log.stages[1].model_copy(update={"checkpoints": (checkpoint,)})
    log = run.log.model_copy(update={"stages": (run.log.stages[0], stage, run.log.stages[2])})

    finding = check_segment(
        Run(log, run.log_digest, run.blobs, model_of=mlp_model), 1, on_block=quiet
    )

    assert finding.verdict == "inconsistent"
    assert finding.worst == "body.bias"
    assert torch.isfinite(torch.tensor(finding.deviation))
