"""Science that goes wrong ends in a stated diagnosis or a typed error, never in NaN."""

import json
import math

import pytest
import torch

from auditor.audit.local import run_audit
from auditor.effects import Better, Query, QueryKind, Verdict, Where
from auditor.errors import InputError
from auditor.estimators.aa_score import AaScoreSettings
from auditor.estimators.retrain import RetrainSettings
from auditor.estimators.subsampled_replay import SubsampledReplaySettings
from auditor.plan.request import AuditRequest, Change, Intervention, Reference, Selection
from auditor.plan.settings import EstimatorSettings
from auditor.record.evalset import write_evaluation_set
from auditor.report.schema import Report
from auditor.stagelog.digest import canonical_bytes
from tests.support.builders import RecordedRun, make_columns, make_stage_log
from tests.support.memory_index import MemoryIndex

SKIP = Intervention(kind="skip", stage="stage0")
BLOWS_UP = Intervention(kind="change", stage="stage1", hyperparameters={"lr": Change(scale=1e160)})
REPLAY = SubsampledReplaySettings(replicas=2)


@pytest.fixture(scope="module")
def recorded() -> RecordedRun:
    return make_stage_log()


def ask(
    recorded: RecordedRun,
    *interventions: Intervention,
    estimator: EstimatorSettings = REPLAY,
    kind: QueryKind = QueryKind.LOSS,
    **fields: object,
) -> Report:
    recorded.blobs.write(canonical_bytes(recorded.log))
    query = {
        "name": "asked", "kind": kind, "better": Better.LOWER, "data": recorded.evaluation,
        **{name: fields.pop(name) for name in ("where", "data", "group", "groups")
        if name in fields},
    }  # fmt: skip
    request = AuditRequest(
        log=recorded.digest,
        interventions=interventions,
        queries=(Query(**query),),
        estimator=estimator,
        **fields,
    )
    report = run_audit(request, blobs=recorded.blobs, index=MemoryIndex(), device="cpu")
    assert_finite(json.loads(canonical_bytes(report)))
    return report


def assert_finite(value: object) -> None:
    """Fail on NaN or infinity anywhere."""
    if isinstance(value, dict):
        for part in value.values():
            assert_finite(part)
    elif isinstance(value, list):
        for part in value:
            assert_finite(part)
    else:
        assert not isinstance(value, float) or math.isfinite(value)


@pytest.mark.parametrize("estimator", [REPLAY, RetrainSettings()])
def test_a_counterfactual_that_diverges_does_not_end_the_audit(recorded, estimator):
    alone = ask(recorded, SKIP, estimator=estimator).effects[0]

    report = ask(recorded, SKIP, BLOWS_UP, estimator=estimator)

    kept, lost = report.effects
    assert kept.value == pytest.approx(alone.value, rel=1e-9)
    assert kept.verdict is alone.verdict
    assert (lost.value, lost.low, lost.verdict) == (None, None, Verdict.NOT_RESOLVED)
    assert "diverges" in lost.statement
    (diagnosis,) = report.diagnoses
    assert diagnosis.id == "DIVERGES"
    assert diagnosis.intervention == BLOWS_UP.label
    assert "stages[stage1].steps[" in diagnosis.text


def test_noise_that_diverges_leaves_the_other_rows(recorded):
    report = ask(recorded, SKIP, BLOWS_UP, estimator=RetrainSettings(), noise=("order",))

    assert report.effects[0].sd_order is not None
    assert report.effects[1].sd_order is None
    assert "DIVERGES" in {diagnosis.id for diagnosis in report.diagnoses}


@pytest.mark.parametrize("form", ["tangent", "adjoint"])
def test_the_square_root_at_zero_of_adam_is_no_nan(form):
    recorded = make_stage_log(optimizer="adam", weight_decay=0.0, unused_feature=0)

    report = ask(recorded, SKIP, estimator=AaScoreSettings(form=form))

    assert report.effects[0].value is not None
    assert report.diagnoses == ()


def test_a_stage_that_never_changed_a_parameter_is_named():
    recorded = make_stage_log(stages=2, lr=1e-320, weight_decay=0.0)

    report = ask(recorded, SKIP)

    effect = report.effects[0]
    assert effect.value == 0
    assert effect.verdict is Verdict.NOT_RESOLVED
    assert "STAGE_WITHOUT_UPDATE" in {diagnosis.id for diagnosis in report.diagnoses}


def test_a_constant_query_is_named(recorded):
    columns = make_columns(examples=4, seed=3)
    with torch.no_grad():
        columns["label"] = recorded.model(columns["x"]).argmax(dim=1)
    easy = write_evaluation_set("easy", columns, recorded.blobs)
    faded = Intervention(kind="fade", stage="stage0", alpha=1.0 - 1e-12)

    report = ask(recorded, faded, estimator=RetrainSettings(), kind=QueryKind.ACCURACY, data=easy)

    assert (report.queries[0].kind, report.queries[0].value) == (QueryKind.ACCURACY, 1.0)
    assert report.effects[0].verdict is Verdict.NOT_RESOLVED
    assert "CONSTANT_QUERY" in {diagnosis.id for diagnosis in report.diagnoses}


def test_a_query_that_moves_is_not_called_constant(recorded):
    assert ask(recorded, SKIP).diagnoses == ()


def test_a_selection_of_no_examples_is_refused(recorded):
    with pytest.raises(InputError, match="where"):
        ask(recorded, SKIP, where=Where(column="source", equals="nobody"))


def test_a_group_without_examples_is_refused(recorded):
    with pytest.raises(InputError, match="nobody"):
        ask(recorded, SKIP, kind=QueryKind.ACCURACY_GAP, group="source", groups=("own", "nobody"))


def test_a_source_that_fills_a_stage_is_refused(recorded):
    everything = Selection(columns={"source": ("own", "vendor")})
    drop = Intervention(kind="drop", stage="stage1", where=everything)

    with pytest.raises(InputError, match="all"):
        ask(recorded, drop)


def test_a_reference_smaller_than_a_batch_is_named(recorded):
    small = write_evaluation_set("small", make_columns(examples=3, seed=5), recorded.blobs)
    replace = Intervention(kind="replace", stage="stage1", reference=Reference(data=small))

    report = ask(recorded, replace)

    (diagnosis,) = report.diagnoses
    assert diagnosis.id == "REFERENCE_SMALLER_THAN_BATCH"
    assert "3 examples" in diagnosis.text
    assert report.effects[0].value is not None


def test_many_effects_are_controlled_for_false_discoveries(recorded):
    windows = [
        Intervention(kind="fade", stage=f"stage{stage}", alpha=alpha / 10)
        for stage in range(3)
        for alpha in range(1, 9)
    ]

    report = ask(recorded, *windows, baselines=())

    many = report.multiplicity
    assert many is not None
    assert many.tested == len(windows)
    assert sum(effect.verdict is Verdict.EFFECT for effect in report.effects) == many.discovered
    assert "MANY_EFFECTS" in {item.id for item in report.limitations}
    assert ask(recorded, *windows[:20], baselines=()).multiplicity is None
