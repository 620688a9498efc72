"""An audit of the artifact that will be deployed, through real workers."""

from pathlib import Path

import torch

from auditor.attest.bundle import parse_bundle
from auditor.attest.statement import Statement
from auditor.model.tensors import write_tensors
from auditor.plan.derivation import Cast
from auditor.stagelog.digest import Digest, sha256
from service.records.base import DEFAULT_TENANT, ModelRow
from service.scheduler.states import AuditState
from tests.support.builders import RecordedRun, make_stage_log
from tests.support.job_service import JobService, job_service, make_ask, make_request


def register(service: JobService, tensors: dict[str, torch.Tensor]) -> Digest:
    """Store a model artifact as if it had been pushed and return its digest."""
    data = write_tensors(tensors)
    digest = service.host.objects.write(data)
    service.host.catalogue.add_blobs(DEFAULT_TENANT, {digest: len(data)})
    row = ModelRow(
        digest=digest,
        format="safetensors",
        tensors=len(tensors),
        elements=sum(tensor.numel() for tensor in tensors.values()),
        size_bytes=len(data),
        created=0.0,
    )
    service.host.catalogue.add_model(DEFAULT_TENANT, row, request=None)
    return digest


def final_tensors(run: RecordedRun) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in run.model.state_dict().items()}


def test_the_report_names_the_artifact_that_equals_the_final_checkpoint(tmp_path: Path) -> None:
    run = make_stage_log()
    with job_service(tmp_path) as service:
        service.adopt(run)
        model = register(service, final_tensors(run))
        request = make_request(run).model_copy(update={"model": model})

        row = service.wait(service.jobs.submission.create(make_ask(request)).id)

        assert row.state is AuditState.SUCCEEDED
        statement = Statement.model_validate_json(parse_bundle(service.bundle(row)).payload)

    subjects = {subject.name: subject.digest for subject in statement.subjects}
    assert subjects["stagelog.json"] == run.digest
    assert subjects["model.safetensors"] == model
    assert statement.predicate.model.bound
    assert statement.predicate.run is not None
    assert statement.predicate.run.id == row.id


def test_another_artifact_fails_the_audit_and_names_the_parameter(tmp_path: Path) -> None:
    run = make_stage_log()
    tensors = final_tensors(run)
    changed = sorted(tensors)[0]
    tensors[changed] = tensors[changed] + 1e-3
    with job_service(tmp_path) as service:
        service.adopt(run)
        model = register(service, tensors)
        request = make_request(run).model_copy(update={"model": model})

        row = service.wait(service.jobs.submission.create(make_ask(request)).id)

    assert row.state is AuditState.FAILED
    assert row.error is not None
    assert changed in row.error.where
    assert row.report_digest is None


def test_a_damaged_result_is_set_aside_and_computed_again(tmp_path: Path) -> None:
    run = make_stage_log()
    with job_service(tmp_path) as service:
        service.adopt(run)
        first = service.wait(service.jobs.submission.create(make_ask(make_request(run))).id)
        damaged = [a for a in service.reader.actions(first.id) if a.kind == "evaluate"]
        for action in damaged:
            assert action.result is not None
            path = service.host.objects.path(action.result)
            path.chmod(0o600)
            path.write_bytes(b"damaged")

        again = make_request(run).model_copy(update={"purpose": "once more"})
        second = service.wait(service.jobs.submission.create(make_ask(again)).id)

        assert second.state is AuditState.SUCCEEDED
        for action in service.reader.actions(second.id):
            assert action.result is not None
            assert sha256(service.host.objects.read(action.result)) == action.result


def test_the_report_says_how_the_artifact_was_made(tmp_path: Path) -> None:
    run = make_stage_log(dtype=torch.float32)
    with job_service(tmp_path) as service:
        service.adopt(run)
        cast = {name: tensor.bfloat16() for name, tensor in final_tensors(run).items()}
        model = register(service, cast)
        request = make_request(run).model_copy(
            update={"model": model, "derivation": (Cast(dtype="bfloat16"),)}
        )

        row = service.wait(service.jobs.submission.create(make_ask(request)).id)

        assert row.state is AuditState.SUCCEEDED
        statement = Statement.model_validate_json(parse_bundle(service.bundle(row)).payload)

    assert statement.predicate.model.bound
    assert statement.predicate.model.digest == model
    assert statement.predicate.model.derivation == "cast to bfloat16"
