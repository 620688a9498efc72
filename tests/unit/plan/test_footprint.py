"""Tests of predicted memory: its formula by hand, and against the bytes that a replay holds."""

import pytest

from auditor.errors import ResourceError
from auditor.plan.actions import Advance, Evaluate, Recorded, WriteReport
from auditor.plan.footprint import BLOCK_BYTES, NOTHING, Footprint, footprint, require_fits
from auditor.plan.request import Intervention
from tests.support.manifests import make_log, make_query, make_stage

LOG = make_log(make_stage(0), make_stage(1))
STAGE = LOG.stages[1]
ACTIVATIONS = {STAGE.graph: 1000}


def advance(**changes: object) -> Advance:
    fields: dict[str, object] = {"log": "a" * 64, "stage": 1, "start": Recorded(boundary=1)}
    return Advance(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_lane_holds_its_state_two_vectors_and_activations() -> None:
    full = footprint(advance(), LOG, activations=ACTIVATIONS)
    half = footprint(advance(fraction=0.5), LOG, activations=ACTIVATIONS)

    batch = STAGE.examples_per_step or 1
    assert full.examples == batch * 1000
    assert half.examples == round(batch / 2) * 1000
    assert half.state == full.state
    assert full.fixed > BLOCK_BYTES
    assert full.alone == full.fixed + full.state + full.examples


def test_a_skipped_stage_computes_no_steps() -> None:
    skip = Intervention(kind="skip", stage=STAGE.name)

    found = footprint(advance(intervention=skip), LOG, activations=ACTIVATIONS)

    assert (found.fixed, found.examples) == (0, 0)
    assert found.state > 0


def test_evaluations_add_a_state_each_and_share_activations() -> None:
    spec = Evaluate(log="a" * 64, state=Recorded(boundary=2), query=make_query())

    found = footprint(spec, LOG, activations=ACTIVATIONS)

    assert found.fixed == 512 * 1000
    assert found.examples == 0


def test_a_report_needs_nothing() -> None:
    spec = WriteReport(request="b" * 64, inputs=())

    assert footprint(spec, LOG, activations=ACTIVATIONS) == NOTHING


def test_what_no_device_holds_is_refused_with_what_would_fit() -> None:
    needed = Footprint(fixed=2**20, state=2**20, examples=8 * 2**20)

    require_fits(needed, kind="advance", budget=10 * 2**20)
    with pytest.raises(ResourceError) as refused:
        require_fits(needed, kind="advance", budget=6 * 2**20)

    error = refused.value
    assert "10.0 MiB" in error.found
    assert "6.0 MiB" in error.expected
    assert "at most 0.5 of these examples" in error.remedy
    assert error.retry_after_seconds is None


def test_fewer_examples_do_not_help_where_the_state_is_too_large() -> None:
    with pytest.raises(ResourceError) as refused:
        require_fits(Footprint(state=2**30, examples=2**20), kind="advance", budget=2**20)

    assert "examples" not in refused.value.remedy
