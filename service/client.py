"""The Python client: push, audit, watch, fetch; no torch, no numpy.

    with Client() as client:
        log = client.push_log(Path("run/log"))
        audit = client.create_audit(request)
        client.wait(audit)

Without an address it finds the service of this machine's data folder. Errors are those of
:mod:`auditor.errors`, with where, expected, found and remedy as the service stated them.
"""

import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, final

from google.longrunning import operations_pb2
from google.protobuf import timestamp_pb2

from auditor.errors import AuditorError, InputError, UnavailableError
from auditor.plan.request import AuditRequest
from auditor.policy.result import GateResult
from auditor.policy.schema import Policy
from auditor.stagelog.digest import Digest, canonical_bytes, sha256
from service.channel import Connection
from service.config import resolve_endpoint
from service.listing import Lists
from service.log_check_client import CheckStep, follow_check, start_check
from service.names import member_name, parse_blob, parse_member
from service.pb.v1 import (
    admin_pb2,
    audit_pb2,
    model_pb2,
    policy_pb2,
    report_pb2,
    stage_log_pb2,
)
from service.status import CODE_BY_NUMBER, error_of
from service.transfer import (
    BytesSource,
    FileSource,
    Progress,
    Source,
    Transfer,
    digest_of_source,
)
from service.views import view

Priority = Literal["batch", "normal", "gate"]
Plain = dict[str, Any]

CREATE_SECONDS = 600.0
"""Registering a log reads all of its blobs."""

WATCH_SECONDS = 3600.0

_PRIORITIES: Mapping[Priority, audit_pb2.AuditPriority.ValueType] = {
    "batch": audit_pb2.AUDIT_PRIORITY_BATCH,
    "normal": audit_pb2.AUDIT_PRIORITY_NORMAL,
    "gate": audit_pb2.AUDIT_PRIORITY_GATE,
}
_FINAL = ("succeeded", "failed", "cancelled")


@final
class Client:
    """A tenant's view of a service; thread-safe.

    Args:
        address: ``host:port``; None looks for it as the command line does.
        token: The bearer token; None takes the one that belongs to the address found.
        tenant: Whose resources; None looks for it as the command line does.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        token: str | None = None,
        tenant: str | None = None,
    ) -> None:
        endpoint = resolve_endpoint(server=address, token=token)
        self.tenant = tenant or endpoint.tenant
        self._parent = f"tenants/{self.tenant}"
        self._connection = Connection(endpoint.address, token=endpoint.token)
        self._transfer = Transfer(self._connection, tenant=self.tenant)
        self._lists = Lists(self._connection, tenant=self.tenant)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all calls and the connection."""
        self._connection.close()

    def push_blob(self, content: bytes | Path, *, on_progress: Progress | None = None) -> Digest:
        """Send bytes or a file, and return the digest."""
        source = BytesSource(content) if isinstance(content, bytes) else FileSource(content)
        digest = digest_of_source(source)
        self._transfer.send({digest: source}, on_progress=on_progress)
        return digest

    def push_log(self, folder: Path, *, on_progress: Progress | None = None) -> Digest:
        """Send a log folder, register the log, and return its identity.

        Args:
            folder: What the recorder wrote.
            on_progress: Called with the bytes that are there and the bytes of all.

        Returns:
            SHA-256 of the manifest.

        Raises:
            StageLogError: If the log contradicts itself, here or in the service's checks.
        """
        from auditor.edge.folder import read_log  # noqa: PLC0415 - only where a log is read

        log, digest, blobs = read_log(folder)
        self._send_manifest(
            canonical_bytes(log),
            blobs={Digest(name): blobs.path(Digest(name)) for name in log.blobs()},
            on_progress=on_progress,
        )
        request = stage_log_pb2.CreateStageLogRequest(
            parent=self._parent, manifest_digest=digest, request_id=_request_id()
        )
        service = self._connection.stage_logs
        self._connection.call(service.CreateStageLog, request, seconds=CREATE_SECONDS)
        return digest

    def push_evaluation_set(self, folder: Path, *, on_progress: Progress | None = None) -> Digest:
        """Send an evaluation set's folder, and return the digest that queries name as ``data``."""
        from auditor.edge.folder import BLOBS_FOLDER, EVALSET_FILE, FolderBlobs  # noqa: PLC0415
        from auditor.stagelog.evaluation import parse_evaluation_set  # noqa: PLC0415

        path = folder / EVALSET_FILE
        try:
            manifest = path.read_bytes()
        except OSError as error:
            raise InputError(
                str(path),
                expected="the manifest of an evaluation set",
                found=error.strerror,
                remedy="Pass the folder that auditor.record.evalset wrote.",
            ) from error
        shards = parse_evaluation_set(manifest).dataset.shards
        blobs = FolderBlobs(folder / BLOBS_FOLDER)
        return self._send_manifest(
            manifest,
            blobs={Digest(s.digest): blobs.path(Digest(s.digest)) for s in shards},
            on_progress=on_progress,
        )

    def push_model(self, path: Path, *, on_progress: Progress | None = None) -> Digest:
        """Send and register a model artifact, and return its digest.

        Args:
            path: ``.onnx`` with weights; anything else is taken as safetensors.
            on_progress: Called with the bytes that are there and the bytes of all.

        Returns:
            SHA-256 of the file.
        """
        digest = self.push_blob(path, on_progress=on_progress)
        onnx = path.suffix == ".onnx"
        request = model_pb2.CreateModelRequest(
            parent=self._parent,
            digest=digest,
            format=model_pb2.MODEL_FORMAT_ONNX if onnx else model_pb2.MODEL_FORMAT_SAFETENSORS,
            request_id=_request_id(),
        )
        service = self._connection.models
        self._connection.call(service.CreateModel, request, seconds=CREATE_SECONDS)
        return digest

    def create_audit(
        self,
        request: AuditRequest,
        *,
        request_id: str | None = None,
        priority: Priority = "normal",
        deadline_seconds_since_1970: float | None = None,
    ) -> str:
        """Ask for an audit and return its name; the service computes on without this client.

        Args:
            request: What is asked; its log, model and data were pushed before.
            request_id: UUID4; the same id and request give the same audit.
            priority: Which audits are served first.
            deadline_seconds_since_1970: When it fails unless it is finished; None: in 24 h.

        Returns:
            ``tenants/{tenant}/audits/{id}``.
        """
        message = audit_pb2.CreateAuditRequest(
            parent=self._parent,
            request_json=canonical_bytes(request).decode(),
            priority=_PRIORITIES[priority],
            request_id=request_id or _request_id(),
        )
        if deadline_seconds_since_1970 is not None:
            stamp = timestamp_pb2.Timestamp(seconds=int(deadline_seconds_since_1970))
            message.deadline_time.CopyFrom(stamp)
        service = self._connection.audits
        operation = self._connection.call(service.CreateAudit, message, seconds=CREATE_SECONDS)
        _, identity = parse_member(operation.name, collection="operations")
        return member_name(self.tenant, "audits", identity)

    def plan_audit(self, request: AuditRequest) -> Plain:
        """Say what an audit would compute, without storing anything."""
        message = audit_pb2.PlanAuditRequest(
            parent=self._parent, request_json=canonical_bytes(request).decode()
        )
        service = self._connection.audits
        return view(self._connection.call(service.PlanAudit, message, seconds=CREATE_SECONDS))

    def get_audit(self, name: str) -> Plain:
        """Return where an audit stands."""
        request = audit_pb2.GetAuditRequest(name=name)
        return view(self._connection.call(self._connection.audits.GetAudit, request))

    def watch_audit(self, name: str, *, after_sequence: int = 0) -> Iterator[Plain]:
        """Yield the events of an audit until it is finished; a lost connection is resumed.

        Args:
            name: The audit.
            after_sequence: Only events after this one.

        Yields:
            ``sequence``, ``kind``, ``state``, ``progress`` and more.
        """
        last = after_sequence
        failures = 0
        while True:
            request = audit_pb2.WatchAuditRequest(name=name, after_sequence=last)
            try:
                for event in self._connection.stream(
                    self._connection.audits.WatchAudit, request, seconds=WATCH_SECONDS
                ):
                    last, failures = event.sequence, 0
                    yield view(event)
            except UnavailableError:
                failures += 1
                if failures >= 10:
                    raise
                self._connection.pause(min(0.2 * 2**failures, 5.0))
            else:
                return

    def wait(self, name: str) -> Plain:
        """Wait until an audit is finished and return it.

        Raises:
            AuditorError: The error that the audit failed with.
        """
        for _ in self.watch_audit(name):
            pass
        request = audit_pb2.GetAuditRequest(name=name)
        audit = self._connection.call(self._connection.audits.GetAudit, request)
        if audit.HasField("error"):
            raise _raised(audit)
        return view(audit)

    def check_log(
        self,
        log: Digest,
        *,
        sample: float | None = None,
        seed: int = 0,
        request_id: str | None = None,
    ) -> str:
        """Ask for a log's steps to be replayed and return the name of the operation."""
        return start_check(
            self._connection,
            log,
            tenant=self.tenant,
            sample=sample,
            seed=seed,
            request_id=request_id or _request_id(),
        )

    def watch_check(self, name: str) -> Iterator[CheckStep]:
        """Yield where a check stands until it is over; the last step has the verdict.

        Raises:
            AuditorError: The error that the check ended with.
        """
        return follow_check(self._connection, name)

    def get_log(self, digest: Digest) -> Plain:
        """Return a stage log: what it holds, and what checks said about it."""
        request = stage_log_pb2.GetStageLogRequest(
            name=member_name(self.tenant, "stageLogs", digest)
        )
        return view(self._connection.call(self._connection.stage_logs.GetStageLog, request))

    def cancel(self, name: str) -> None:
        """Ask for an audit, or a check of a log, to be stopped; what is finished stays cached."""
        collection = "operations" if "/operations/" in name else "audits"
        _, identity = parse_member(name, collection=collection)
        request = operations_pb2.CancelOperationRequest(
            name=member_name(self.tenant, "operations", identity)
        )
        self._connection.call(self._connection.operations.CancelOperation, request)

    def get_report(self, digest: str) -> bytes:
        """Return the Sigstore bundle of a report, whose digest or name is given."""
        request = report_pb2.GetReportRequest(name=self._report_name(digest))
        report = self._connection.call(self._connection.reports.GetReport, request)
        if report.bundle:
            return report.bundle
        blob = parse_blob(report.bundle_blob)
        return self.get_blob(blob.digest, size=blob.size)

    def evaluate_policy(
        self, policy: Policy, report: str, *, baseline: str | None = None
    ) -> GateResult:
        """Return what a policy says of a report of the service, by the service's word.

        Args:
            policy: The rules.
            report: Digest or name of the report.
            baseline: Digest or name of the report that it is compared with.

        Raises:
            PolicyError: If a rule names what the report does not have.
            BaselineError: If a rule needs a baseline that is missing or cannot be compared with.
        """
        request = policy_pb2.EvaluatePolicyRequest(
            report=self._report_name(report),
            baseline="" if baseline is None else self._report_name(baseline),
            policy=canonical_bytes(policy),
        )
        answer = self._connection.call(self._connection.policies.EvaluatePolicy, request)
        return GateResult.model_validate_json(answer.result)

    def link_report(self, digest: str, *, seconds: int = 0) -> Plain:
        """Return the address of a report's page, and when it ends; 0 seconds means an hour."""
        name = self._report_name(digest)
        request = report_pb2.CreateReportLinkRequest(name=name, validity_seconds=seconds)
        return view(self._connection.call(self._connection.reports.CreateReportLink, request))

    def get_blob(self, digest: Digest, *, size: int) -> bytes:
        """Return a blob of the tenant, checked against its digest."""
        return b"".join(self._transfer.fetch(digest, size=size))

    def list_logs(self) -> list[Plain]:
        """Return all stage logs, newest first."""
        return self._lists.stage_logs()

    def list_models(self) -> list[Plain]:
        """Return all models, newest first."""
        return self._lists.models()

    def list_audits(self, *, log: Digest | None = None) -> list[Plain]:
        """Return all audits, or those of one log, newest first."""
        return self._lists.audits(log)

    def list_reports(self, *, log: Digest | None = None) -> list[Plain]:
        """Return all reports, or those about one log, without their bundles, newest first."""
        return self._lists.reports(log)

    def scheduler_status(self) -> Plain:
        """Return what the service has queued and runs, as far as this tenant may see it."""
        request = admin_pb2.GetSchedulerStatusRequest()
        return view(self._connection.call(self._connection.admin.GetSchedulerStatus, request))

    def _report_name(self, report: str) -> str:
        return report if "/" in report else member_name(self.tenant, "reports", report)

    def _send_manifest(
        self,
        manifest: bytes,
        *,
        blobs: Mapping[Digest, Path],
        on_progress: Progress | None,
    ) -> Digest:
        digest = sha256(manifest)
        sources: dict[Digest, Source] = {name: FileSource(path) for name, path in blobs.items()}
        sources[digest] = BytesSource(manifest)
        self._transfer.send(sources, on_progress=on_progress)
        return digest


def _request_id() -> str:
    return str(uuid.uuid4())


def _raised(audit: audit_pb2.Audit) -> AuditorError:
    code = CODE_BY_NUMBER[audit.error.code]
    return error_of(audit.error, code=code, text=audit.error.message)
