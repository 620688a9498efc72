"""What is told before an audit: its cost, and the smallest effects it could show."""

import numpy as np
import pytest
from scipy import stats

from auditor.audit.forecast import Forecast, forecast
from auditor.audit.local import run_audit
from auditor.effects import Better, Query, QueryKind
from auditor.estimators.base import Sample
from auditor.estimators.detectable import detectable_effect
from auditor.estimators.interval import summarise
from auditor.estimators.retrain import RetrainSettings
from auditor.estimators.subsampled_replay import SubsampledReplaySettings
from auditor.plan.request import AuditRequest
from auditor.plan.settings import EstimatorSettings
from auditor.stagelog.digest import Digest, canonical_bytes
from auditor.stagelog.evaluation import parse_evaluation_set
from tests.support.builders import RecordedRun, make_stage_log
from tests.support.memory_index import MemoryIndex


@pytest.fixture(scope="module")
def recorded() -> RecordedRun:
    found = make_stage_log()
    found.blobs.write(canonical_bytes(found.log))
    return found


def request_for(recorded: RecordedRun, estimator: EstimatorSettings) -> AuditRequest:
    queries = tuple(
        Query(name=kind.value, kind=kind, better=Better.LOWER, data=recorded.evaluation)
        for kind in (QueryKind.LOSS, QueryKind.ACCURACY)
    )
    return AuditRequest(
        log=recorded.digest, interventions="stages", queries=queries, estimator=estimator
    )


def foretell(recorded: RecordedRun, request: AuditRequest, results: dict) -> Forecast:
    evaluation = parse_evaluation_set(recorded.blobs.read(Digest(recorded.evaluation)))
    return forecast(
        request,
        recorded.log,
        evaluation_sets={recorded.evaluation: evaluation},
        blobs=recorded.blobs,
        results=results,
    )


def test_without_replicas_only_what_the_examples_allow_is_known(recorded):
    found = foretell(recorded, request_for(recorded, SubsampledReplaySettings(replicas=4)), {})

    loss, accuracy = found.queries
    assert (loss.detectable, loss.basis) == (None, "unknown")
    assert (accuracy.detectable, accuracy.basis) == (1 / 24, "evaluation set")
    assert found.relative is not None
    assert found.relative > 0


def test_exact_retraining_shows_everything(recorded):
    found = foretell(recorded, request_for(recorded, RetrainSettings()), {})

    assert {(query.detectable, query.basis) for query in found.queries} == {(0.0, "exact")}


def test_finished_replicas_say_what_they_can_show_and_cost_nothing(recorded):
    request, index = request_for(recorded, SubsampledReplaySettings(replicas=4)), MemoryIndex()
    report = run_audit(request, blobs=recorded.blobs, index=index, device="cpu")

    found = foretell(recorded, request, index.entries)

    loss = found.queries[0]
    widest = max(
        (effect.high - effect.low) / 2 for effect in report.effects if effect.query == "loss"
    )
    assert loss.basis == "replicas"
    assert loss.detectable > widest
    assert found.relative == 0


def test_detectable_effect_of_spread_alone_is_that_of_two_quantiles():
    means = np.random.default_rng(0).normal(size=(6, 1))
    sample = Sample(effects=means, deviations=np.zeros_like(means))

    found = detectable_effect(sample, confidence=0.9)

    error = np.std(means, ddof=1) * np.sqrt(1 + 1 / 6)
    assert found == pytest.approx((stats.t.ppf(0.99, 5) + stats.t.ppf(0.8, 5)) * error)


def test_four_of_five_effects_of_that_size_are_found():
    # The truth is one more draw, as decisions 4 has it; the standard error of 4,000 audits is
    # 0.6 %, and estimating the spread from 8 replicas shifts the rate by some percent.
    generator, found = np.random.default_rng(1), 0
    size = (stats.t.ppf(0.95, 7) + stats.t.ppf(0.8, 7)) * np.sqrt(1 + 1 / 8)
    for _ in range(4000):
        means = size + generator.normal() + generator.normal(size=(8, 1))
        sample = Sample(effects=means, deviations=np.zeros_like(means))
        found += summarise(sample, confidence=0.9).low > 0

    assert found / 4000 == pytest.approx(0.8, abs=0.06)


def test_a_sample_without_an_interval_detects_nothing_known():
    assert detectable_effect(Sample(effects=np.ones((1, 3))), confidence=0.9) is None
