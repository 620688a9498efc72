"""Replay checks: verdicts, pieces between checkpoints, resolution."""

from functools import partial

import numpy as np
import pytest
import torch

from auditor.dynamics.consistency import SegmentSample, check_segment
from auditor.dynamics.run import Run
from auditor.dynamics.trajectory import Lane, replay
from auditor.plan.actions import SegmentFinding
from auditor.plan.segment_sample import detection_probability
from tests.support.builders import OptimizerName, RecordedRun, make_stage_log
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
from tests.support.forgery import with_checkpoint, with_columns


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


def with_rate(run: RecordedRun, step: int, *, factor: float) -> RecordedRun:
    """Return the log with another rate at one step of stage 1."""

    def change(columns: dict[str, np.ndarray]) -> None:
        columns["lr"][step] *= factor

    return with_columns(run, 1, change)


def segment(run: RecordedRun, *, sample: SegmentSample | None = None) -> SegmentFinding:
    return check_segment(Run(run.log, run.digest, run.blobs), 1, on_block=quiet, sample=sample)


def test_first_inconsistent_steps_are_named() -> None:
    # Stage 1 has the steps 6 to 11 with checkpoints at 8, 10 and 12.
    run = make_stage_log(stages=2, cadence_steps=2)

    found = segment(with_rate(run, 3, factor=1.01))

    assert found.inconsistent_steps == (8, 10)
    assert segment(run).inconsistent_steps is None


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adamw"])
@pytest.mark.parametrize("step", range(6))
def test_change_of_one_rate_above_the_stated_size_is_found(
    optimizer: OptimizerName, step: int
) -> None:
    run = make_stage_log(stages=2, optimizer=optimizer, transition="keep")
    stated = segment(run).detectable_update
    assert stated is not None

    # Steps are smaller and larger than the average; ten times covers the smallest of these.
    assert segment(with_rate(run, step, factor=1 + 10 * stated)).verdict == "inconsistent"
    assert segment(with_rate(run, step, factor=1 + stated / 100)).verdict == "consistent"


def test_checkpoint_changed_by_more_than_stated_is_found() -> None:
    run = make_stage_log(stages=2, dtype=torch.float32)
    stated = segment(run).detectable_state
    largest = max(float(p.detach().abs().max()) for p in run.model.parameters())
    assert stated is not None

    def change(tensors: dict[str, torch.Tensor], *, size: float) -> None:
        tensors["0.bias"][0] += size * largest

    above = with_checkpoint(run, 1, -1, partial(change, size=2 * stated))
    below = with_checkpoint(run, 1, -1, partial(change, size=stated / 4))
    assert (segment(above).verdict, segment(below).verdict) == ("inconsistent", "consistent")


def test_sample_finds_one_wrong_segment_as_often_as_stated() -> None:
    # Stage 1 has segments of steps (6, 7), (8, 9) and (10, 11); the witness is at 10.
    run = with_rate(make_stage_log(stages=2, cadence_steps=2), 1, factor=1.1)
    verdicts = [
        segment(run, sample=SegmentSample(fraction=1 / 3, seed=seed)).verdict for seed in range(40)
    ]

    found = sum(verdict == "inconsistent" for verdict in verdicts)
    # Binomial(40, 1/3): 13.3 +- 3.0; five deviations either way.
    assert detection_probability(3, drawn=1) == pytest.approx(1 / 3)
    assert 0 < found < 29
    assert segment(run, sample=SegmentSample(fraction=1.0, seed=0)).verdict == "inconsistent"


def test_sample_counts_what_it_replayed() -> None:
    run = make_stage_log(stages=2, cadence_steps=2)

    found = segment(run, sample=SegmentSample(fraction=0.4, seed=1))

    assert (found.checkpoints, found.segments) == (2, 3)
    assert found == segment(run, sample=SegmentSample(fraction=0.4, seed=1))
