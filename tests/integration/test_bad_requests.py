"""Audits that cannot be answered: refused when they are asked, or failed without a report."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from auditor.effects import Better, Probe, Query, QueryKind
from auditor.errors import (
    ArtifactMissingError,
    AuditorError,
    InputError,
    PreconditionError,
    QueryError,
    UnsupportedError,
)
from auditor.estimators.aa_score import AaScoreSettings
from auditor.estimators.retrain import RetrainSettings
from auditor.estimators.task_vector import TaskVectorSettings
from auditor.plan.request import AuditRequest, Change, Intervention, Reference, Selection
from auditor.record.evalset import write_evaluation_set
from auditor.stagelog.digest import Digest
from service.client import Client
from service.executors.local import DEFAULT_ENGINE
from tests.support.builders import RecordedRun, make_columns, make_stage_log
from tests.support.forgery import with_stage
from tests.support.refusals import blobs_of, push_evaluation, refused, write_folder
from tests.support.served import Served, served

NEVER_SENT = "f" * 64
TRAINED = RetrainSettings()


@pytest.fixture(scope="module")
def run() -> RecordedRun:
    return make_stage_log(stages=2, steps=3)


@pytest.fixture(scope="module")
def boundaries_only(run: RecordedRun) -> RecordedRun:
    """The run as a log of level 0: no schedules and no batches."""
    changed = run
    for index in range(len(run.log.stages)):
        changed = with_stage(changed, index, schedule=None, batches=None, examples_per_step=None)
    return changed


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, run: RecordedRun, boundaries_only: RecordedRun
) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served"), engine=DEFAULT_ENGINE) as running:
        with running.client() as client:
            for name, log in (("full", run), ("level0", boundaries_only)):
                client.push_log(write_folder(log, tmp_path_factory.mktemp(name) / "log"))
            push_evaluation(client, run)
        yield running


@pytest.fixture
def client(service: Served) -> Iterator[Client]:
    with service.client() as connected:
        yield connected


def pushed(client: Client, run: RecordedRun, **columns: Any) -> Digest:
    """Return the digest of an evaluation set of 24 examples that was sent."""
    held_out = make_columns(examples=24, seed=999)
    digest = write_evaluation_set(
        "other", {**held_out, "id": torch.arange(24), **columns}, run.blobs
    )
    push_evaluation(client, run, digest)
    return digest


def loss(run: RecordedRun, **changes: Any) -> Query:
    asked = {
        "name": "loss", "kind": QueryKind.LOSS, "better": Better.LOWER, "data": run.evaluation,
    }  # fmt: skip
    return Query.model_validate(asked | changes)


def asked(run: RecordedRun, **changes: Any) -> AuditRequest:
    fields: dict[str, Any] = {
        "log": run.digest,
        "interventions": "stages",
        "queries": (loss(run),),
        "estimator": TRAINED,
    }
    return AuditRequest.model_validate(fields | changes)


def replaced(**reference: Any) -> tuple[Intervention, ...]:
    return (Intervention(kind="replace", stage="stage1", reference=Reference(**reference)),)


def dropped(**columns: str | int) -> tuple[Intervention, ...]:
    where = Selection(columns={name: (value,) for name, value in columns.items()})
    return (Intervention(kind="drop", stage="stage1", where=where),)


Case = tuple[dict[str, Any], type[AuditorError], str, str, str]

CHANGE = Intervention(kind="change", stage="stage1", hyperparameters={"beta1": Change(value=0.5)})
FADE = Intervention(kind="fade", stage="stage1", alpha=0.5)
REFUSED: dict[str, Case] = {
    "log": ({"log": NEVER_SENT}, ArtifactMissingError, NEVER_SENT, "", ""),
    "model": ({"model": NEVER_SENT}, ArtifactMissingError, NEVER_SENT, "", ""),
    "no reference": (
        {"interventions": (Intervention(kind="replace", stage="stage1"),)},
        InputError, "interventions[0].reference", "the data the stage would have used", "nothing",
    ),
    "empty reference": (
        {"interventions": replaced()},
        InputError, "interventions[0].reference", "exactly one", "neither",
    ),
    "dataset": (
        {"interventions": replaced(dataset="data9")},
        InputError, "interventions[0].reference.dataset", "data0, data1", "data9",
    ),
    "stage": (
        {"interventions": (Intervention(kind="skip", stage="stage9"),)},
        InputError, "interventions[0].stage", "stage0, stage1", "stage9",
    ),
    "column": (
        {"interventions": dropped(licence="open")},
        InputError, "interventions[0].where.licence", "label, source, x", "licence",
    ),
    "text": (
        {"interventions": dropped(source="acme")},
        InputError, "interventions[0].where.source", "own, vendor", "acme",
    ),
    "change": (
        {"interventions": (CHANGE,)},
        InputError, "interventions[0].hyperparameters.beta1", "lr, weight_decay, momentum", "beta1",
    ),
    "fade by task vector": (
        {"interventions": (FADE,), "estimator": TaskVectorSettings()},
        UnsupportedError, "interventions[0].kind", "a skip of a whole stage", "fade",
    ),
    "drop by aa_score": (
        {"interventions": dropped(source="own"), "estimator": AaScoreSettings()},
        UnsupportedError, "interventions[0].kind", "skip or fade", "drop",
    ),
}  # fmt: skip


def test_data_made_with_another_tokenizer_is_refused_by_the_service(
    service: Served, client: Client, run: RecordedRun, tmp_path: Path
) -> None:
    declared = with_stage(run, -1, tokenizer="a" * 64)
    client.push_log(write_folder(declared, tmp_path / "log"))
    columns = {**make_columns(examples=24, seed=999), "id": torch.arange(24)}
    other = write_evaluation_set("other", columns, run.blobs, tokenizer="b" * 64)
    push_evaluation(client, run, other)
    request = asked(run, log=declared.digest, queries=(loss(run, data=other),))

    with refused(service, client) as refusal:
        client.create_audit(request)

    refusal.says(PreconditionError, "queries[0].data.tokenizer", expected="a" * 64, found="b" * 64)


@pytest.mark.parametrize(
    ("changes", "kind", "where", "expected", "found"), REFUSED.values(), ids=REFUSED.keys()
)
def test_audit_is_refused_by_field(
    service: Served, client: Client, run: RecordedRun, *, changes: dict[str, Any],
    kind: type[AuditorError], where: str, expected: str, found: str,
) -> None:  # fmt: skip
    before = blobs_of(service)

    with refused(service, client) as refusal:
        client.create_audit(asked(run, **changes))

    assert refusal.error is not None
    place = refusal.error.where if kind is ArtifactMissingError else where
    assert where in place
    refusal.says(kind, place, expected=expected, found=found)
    assert blobs_of(service) == before


QUERIES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "class": ({"kind": "probability", "class": 3}, "class", "from 0 to 2", "3"),
    "class of a loss": ({"class": 0}, "class", "no class for loss", "0"),
    "output": ({"output": 1}, "output", "one of 1", "1"),
    "input": ({"inputs": {"tokens": "x"}}, "inputs.tokens", "graph: x", "tokens"),
    "target": ({"target": "x"}, "target", "one class per example", "shape [4]"),
    "text target": ({"target": "source"}, "target", "numbers, not texts", "own, vendor"),
}


@pytest.mark.parametrize(
    ("changes", "where", "expected", "found"), QUERIES.values(), ids=QUERIES.keys()
)
def test_query_is_refused_by_field(
    service: Served, client: Client, run: RecordedRun, *, changes: dict[str, Any], where: str,
    expected: str, found: str,
) -> None:  # fmt: skip
    with refused(service, client) as refusal:
        client.create_audit(asked(run, queries=(loss(run, **changes),)))

    refusal.says(QueryError, f"queries[0].{where}", expected=expected, found=found)


def test_data_that_was_not_sent_is_refused(
    service: Served, client: Client, run: RecordedRun
) -> None:
    with refused(service, client) as refusal:
        client.create_audit(asked(run, queries=(loss(run, data=NEVER_SENT),)))

    assert refusal.error is not None
    assert refusal.error.code == "BLOBS_MISSING"
    assert NEVER_SENT[:12] in refusal.error.found


def test_reference_whose_columns_do_not_fit_is_refused(
    service: Served, client: Client, run: RecordedRun
) -> None:
    data = pushed(client, run, x=torch.zeros(24, 5, dtype=torch.float64))

    with refused(service, client) as refusal:
        client.create_audit(asked(run, interventions=replaced(data=data)))

    refusal.says(
        InputError, "interventions[0].reference.x", expected="shape [4]", found="shape [5]"
    )


def test_probe_of_unequal_sizes_is_refused(
    service: Served, client: Client, run: RecordedRun
) -> None:
    control = write_evaluation_set("control", {**make_columns(examples=23)}, run.blobs)
    push_evaluation(client, run, control)

    with refused(service, client) as refusal:
        client.create_audit(asked(run, queries=(probe(run, control),)))

    refusal.says(QueryError, "queries[0]", expected="in pairs", found="24 and 23 examples")


def test_level_that_cannot_answer_is_refused(
    service: Served, client: Client, boundaries_only: RecordedRun
) -> None:
    with refused(service, client) as refusal:
        client.create_audit(asked(boundaries_only))

    refusal.says(
        PreconditionError, "log.level", expected="level 2 for retrain",
        found="level 0, without stages[0].schedule",
    )  # fmt: skip


def test_plan_refuses_what_an_audit_refuses(
    service: Served, client: Client, run: RecordedRun
) -> None:
    with refused(service, client) as refusal:
        client.plan_audit(asked(run, queries=(loss(run, **{"class": 1}),)))

    refusal.says(QueryError, "queries[0].class", expected="no class for loss", found="1")


def failure(client: Client, request: AuditRequest) -> AuditorError:
    """Return what an accepted audit failed with, having made no report."""
    reports = client.list_reports()
    name = client.create_audit(request)
    with pytest.raises(AuditorError) as caught:
        client.wait(name)
    assert client.get_audit(name)["state"] == "failed"
    assert client.list_reports() == reports
    assert caught.value.remedy.endswith(".")
    return caught.value


def probe(run: RecordedRun, control: str) -> Probe:
    of = loss(run, name="margin", kind=QueryKind.MARGIN)
    return Probe(name="cue", better=Better.LOWER, of=of, treated=run.evaluation, control=control)


def test_classes_that_the_model_does_not_have_fail_the_audit(
    client: Client, run: RecordedRun
) -> None:
    label = torch.zeros(24, dtype=torch.int64)
    label[5] = 7
    data = pushed(client, run, label=label)

    error = failure(client, asked(run, queries=(loss(run, data=data),)))

    assert type(error) is QueryError
    assert error.where == "query 'loss': label[5]"
    assert "from 0 to 2" in error.expected
    assert error.found == "7"


def test_probe_of_other_examples_fails_the_audit(client: Client, run: RecordedRun) -> None:
    control = pushed(client, run, id=torch.arange(24).flip(0))

    error = failure(client, asked(run, queries=(probe(run, control),)))

    assert type(error) is QueryError
    assert error.where == "query 'cue'.control.id[0]"
    assert (error.expected, error.found) == ("0, the id of the treated row", "23")


def test_model_that_the_log_does_not_describe_fails_the_audit(
    client: Client, run: RecordedRun, tmp_path: Path
) -> None:
    state: dict[str, Tensor] = {k: v.clone() for k, v in run.model.state_dict().items()}
    for name in ("0.weight", "2.bias"):
        state[name][0] += 0.5
    save_file(state, tmp_path / "model.safetensors")
    model = client.push_model(tmp_path / "model.safetensors")

    error = failure(client, asked(run, model=model))

    assert type(error) is PreconditionError
    assert error.where == "model.parameters[0.weight]"
    assert "final checkpoint" in error.expected
    assert error.found == "values that differ by up to 0.5"
