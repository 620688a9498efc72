"""Audits of metrics and groups against plain eager torch and plain Python, to the signed report."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from auditor.attest.verify import verify_bundle
from auditor.audit.local import run_audit
from auditor.effects import Query
from auditor.errors import UnsupportedError
from auditor.estimators.retrain import RetrainSettings
from auditor.estimators.subsampled_replay import SubsampledReplaySettings
from auditor.plan.request import AuditRequest
from auditor.record.evalset import write_evaluation_set
from auditor.report.schema import Report
from auditor.stagelog.digest import canonical_bytes
from tests.reference.test_audit_vs_torch import STAGES, STEPS, train
from tests.support.builders import RecordedRun, make_columns, make_stage_log
from tests.support.memory_index import MemoryIndex
from tests.support.metric_graphs import brier_graph
from tests.support.plain_metrics import (
    plain_auroc,
    plain_ece,
    plain_gap,
    plain_odds,
    plain_perplexity,
    rates,
)
from tests.support.reports import make_signed

N = 30
COLUMNS = make_columns(examples=N, seed=999)
X, LABEL = COLUMNS["x"], COLUMNS["label"]
SEX = [("f", "m", "x")[i % 3] for i in range(N)]
GROUP = [i % 3 for i in range(N)]
OPTIMIZER = "momentum"


@pytest.fixture(scope="module")
def recorded() -> RecordedRun:
    run = make_stage_log(stages=STAGES, steps=STEPS, optimizer=OPTIMIZER)
    run.blobs.write(canonical_bytes(run.log))
    return run


@pytest.fixture(scope="module")
def data(recorded: RecordedRun) -> str:
    columns = {
        "x": X, "label": LABEL, "sex": SEX, "clinic": torch.arange(N) // 5,
        "id": [f"patient-{i}" for i in range(N)],
    }  # fmt: skip
    return write_evaluation_set("groups", columns, recorded.blobs)


def numbers(network: nn.Module) -> dict[str, float]:
    """Return every metric of a network, from its logits, by plain means."""
    with torch.no_grad():
        logits = network(X)
    p = functional.softmax(logits, dim=-1)
    predicted = logits.argmax(-1)
    right = (predicted == LABEL).double().tolist()
    chosen = (predicted == 1).double().tolist()
    positive = (LABEL == 1).tolist()
    losses = functional.cross_entropy(logits, LABEL, reduction="none").tolist()
    top = p.max(-1).values.tolist()
    brier = (p - functional.one_hot(LABEL, 3)).square().sum(-1)
    return {
        "auroc": plain_auroc(torch.logit(p[:, 1]).tolist(), positive),
        "ece": plain_ece(top, right, bins=15),
        "accuracy_gap": plain_gap(right, GROUP),
        "demographic_parity": plain_gap(chosen, GROUP),
        "equalised_odds": plain_odds(chosen, positive, GROUP),
        "worst accuracy": min(rates(right, GROUP)),
        "worst loss": max(rates(losses, GROUP)),
        "perplexity": plain_perplexity(losses, [1.0] * N),
        "log_likelihood": -sum(losses) / N,
        "score": logits[:, 2].mean().item(),
        "brier": brier.mean().item(),
        "root brier": math.sqrt(brier.mean().item()),
    }


def make_queries(recorded: RecordedRun, data: str) -> tuple[Query, ...]:
    one = {"class": 1}
    plain, root = (recorded.blobs.write(brier_graph(scalar=scalar)) for scalar in (False, True))
    by_sex = {"group": "sex"}
    asked = [
        ("auroc", "auroc", one),
        ("ece", "ece", {}),
        ("accuracy_gap", "accuracy_gap", by_sex),
        ("demographic_parity", "demographic_parity", one | by_sex),
        ("equalised_odds", "equalised_odds", one | by_sex),
        ("worst accuracy", "worst_group", by_sex),
        ("worst loss", "worst_group", by_sex | {"measure": "loss"}),
        ("perplexity", "perplexity", {}),
        ("log_likelihood", "log_likelihood", {}),
        ("score", "score", {"class": 2, "unit": "toxicity"}),
        ("brier", "metric", {"metric": plain}),
        ("root brier", "metric", {"metric": root}),
    ]
    return tuple(
        Query.model_validate({
            "name": name,
            "kind": kind,
            "better": "higher",
            "data": data,
            **changes,
        })
        for name, kind, changes in asked
    )


def audit(recorded: RecordedRun, *queries: Query, **changes: object) -> Report:
    request = AuditRequest.model_validate({
        "log": recorded.digest,
        "interventions": "stages",
        "queries": queries,
        "estimator": RetrainSettings(),
        **changes,
    })
    return run_audit(request, blobs=recorded.blobs, index=MemoryIndex(), device="cpu")


def test_every_metric_is_what_torch_and_python_say(recorded: RecordedRun, data: str) -> None:
    factual = numbers(train(recorded, OPTIMIZER))
    without = [numbers(train(recorded, OPTIMIZER, skipped=stage)) for stage in range(STAGES)]

    report = audit(recorded, *make_queries(recorded, data))

    assert {q.query: q.value for q in report.queries} == pytest.approx(factual, rel=1e-9)
    found = {(e.query, e.stage): e.value for e in report.effects}
    truth = {
        (name, f"stage{stage}"): factual[name] - without[stage][name]
        for name in factual
        for stage in range(STAGES)
    }
    assert found == pytest.approx(truth, rel=1e-7, abs=1e-10)
    assert {q.query: q.unit for q in report.queries}["score"] == "toxicity"
    assert {q.query: q.unit for q in report.queries}["worst loss"] == "nat"


def test_named_groups_leave_the_others_out(recorded: RecordedRun, data: str) -> None:
    query = Query.model_validate({
        "name": "gap", "kind": "accuracy_gap", "better": "lower", "data": data,
        "group": "sex", "groups": ("m", "f"),
    })  # fmt: skip

    report = audit(recorded, query)

    network = train(recorded, OPTIMIZER)
    with torch.no_grad():
        right = (network(X).argmax(-1) == LABEL).double().tolist()
    kept = [i for i in range(N) if SEX[i] != "x"]
    expected = plain_gap([right[i] for i in kept], [GROUP[i] for i in kept])
    assert report.queries[0].value == pytest.approx(expected, abs=1e-12)
    assert report.queries[0].n == len(kept)


def test_group_audit_is_signed_and_verifies(recorded: RecordedRun, data: str) -> None:
    report = audit(
        recorded,
        *make_queries(recorded, data)[2:5],
        estimator=SubsampledReplaySettings(replicas=4),
    )

    signed = make_signed(report=report)

    verified = verify_bundle(signed.bundle, signed.trust, files={})
    assert verified.report == report
    assert all(effect.unit == "fraction" for effect in report.effects)


def test_aa_score_of_perplexity_is_the_derivative_of_retraining(
    recorded: RecordedRun, data: str
) -> None:
    width = 1e-4
    fades = [
        {"kind": "fade", "stage": "stage1", "alpha": 1 - width},
        {"kind": "fade", "stage": "stage1", "alpha": 1 - 2 * width},
    ]
    perplexity = make_queries(recorded, data)[7]
    asked = AuditRequest.model_validate({
        "log": recorded.digest, "interventions": fades, "queries": [perplexity],
    }, strict=False).interventions  # fmt: skip
    exact = audit(recorded, perplexity, interventions=asked)
    one, two = (effect.value for effect in exact.effects)
    derivative = (4 * one - two) / (2 * width)  # second order at alpha = 1

    for form in ("tangent", "adjoint"):
        settings = {"id": "aa_score", "form": form}
        report = audit(recorded, perplexity, estimator=settings, baselines=())
        found = {effect.stage: effect.value for effect in report.effects}
        assert found["stage1"] == pytest.approx(derivative, rel=1e-5)


def test_aa_score_of_a_metric_without_gradient_is_refused(recorded: RecordedRun, data: str) -> None:
    with pytest.raises(UnsupportedError, match="a query with a gradient"):
        audit(recorded, make_queries(recorded, data)[0], estimator={"id": "aa_score"})


def test_examples_raised_most_are_those_torch_finds(recorded: RecordedRun, data: str) -> None:
    query = Query.model_validate({
        "name": "loss", "kind": "loss", "better": "lower", "data": data, "reduction": "none",
    })  # fmt: skip

    def losses(network: nn.Module) -> Tensor:
        with torch.no_grad():
            return functional.cross_entropy(network(X), LABEL, reduction="none")

    report = audit(recorded, query, extremes=3)

    truth = losses(train(recorded, OPTIMIZER)) - losses(train(recorded, OPTIMIZER, skipped=0))
    order = truth.argsort().tolist()
    first = next(e for e in report.extremes if e.intervention == "skip stage0")
    assert [one.id for one in first.raised] == [f"patient-{i}" for i in order[::-1][:3]]
    assert [one.id for one in first.lowered] == [f"patient-{i}" for i in order[:3]]
    assert first.raised[0].effect == pytest.approx(truth.max().item(), rel=1e-8)
    assert len(audit(recorded, query).extremes[0].raised) <= 10


def test_a_metric_has_no_extremes_and_the_report_says_why(recorded: RecordedRun, data: str) -> None:
    ask = make_queries(recorded, data)

    report = audit(recorded, ask[0], ask[11], extremes=2)

    assert report.extremes == ()
    assert [absent.why for absent in report.not_computed if "extremes" in absent.what] == [
        "auroc is about all examples together",
        "metric is about all examples together",
    ]
