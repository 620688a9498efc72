"""The recorded run: layouts over time, what is missing, what is kept."""

import pytest

from auditor.dynamics.run import Run
from auditor.errors import InputError, PreconditionError
from tests.support.cases import BODY, CASES, HEAD, make_run, mlp_model


def changed(run: Run, **changes: object) -> Run:
    """Return the run with other fields in stage 1."""
    stage = run.log.stages[1].model_copy(update=changes)
    stages = (run.log.stages[0], stage, *run.log.stages[2:])
    log = run.log.model_copy(update={"stages": stages})
    return Run(log, run.log_digest, run.blobs, model_of=mlp_model)


def test_layouts_follow_added_parameters() -> None:
    run = make_run(CASES["added head, momentum"])

    assert run.boundary_layout(0).names == run.layout(0).names == BODY
    assert set(run.layout(1).names) == set(BODY + HEAD)
    assert run.boundary_layout(2) == run.layout(1)


def test_groups_lie_side_by_side_and_frozen_ones_last() -> None:
    run = make_run(CASES["frozen body"])

    assert run.layout(1).names == (*HEAD, *sorted(BODY))
    trained, frozen = run.spans(1)
    assert (trained.begin, trained.end) == (0, 12)
    assert frozen.layout.names == tuple(sorted(BODY))


@pytest.mark.parametrize("part", ["schedule", "batches"])
def test_missing_part_is_a_precondition(part: str) -> None:
    run = changed(make_run(CASES["sgd"]), **{part: None})

    with pytest.raises(PreconditionError, match=rf"stages\[1\]\.{part}"):
        getattr(run, part)(1)


def test_kept_optimizer_must_have_been_recorded() -> None:
    run = make_run(CASES["momentum kept"])
    first = run.log.stages[0]
    bare = first.checkpoints[-1].model_copy(update={"optimizer": None})
    stage = first.model_copy(update={"checkpoints": (bare,)})
    log = run.log.model_copy(update={"stages": (stage, *run.log.stages[1:])})

    with pytest.raises(PreconditionError, match=r"stages\[1\]\.transition\.optimizer"):
        Run(log, run.log_digest, run.blobs, model_of=mlp_model).transition(1)


def test_stage_is_found_by_name() -> None:
    run = make_run(CASES["sgd"])

    assert run.stage_index("stage2") == 2
    with pytest.raises(InputError, match="stage0, stage1, stage2"):
        run.stage_index("alignment")


def test_values_are_computed_once() -> None:
    run = make_run(CASES["sgd"])

    assert run.boundary(1) is run.boundary(1)
    assert run.objective(0) is run.objective(2)
