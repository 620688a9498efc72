"""Turns the figures of a finished audit into a signed report."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, final

from pydantic import TypeAdapter
from securesystemslib.signer import Signer

from auditor.attest.bundle import report_id, sign_report
from auditor.attest.report_subjects import report_subjects
from auditor.attest.statement import Subject
from auditor.attest.trust import time_text
from auditor.audit.executions import executions_of
from auditor.edge.clock import Clock
from auditor.errors import InternalError
from auditor.plan.actions import BindingFinding, BindModel, WriteReport
from auditor.plan.asked import plain_request
from auditor.plan.request import AuditRequest
from auditor.report.history import LISTED, AuditHistory, LoggedAudit, Outcome, history_of
from auditor.report.schema import Report, RunFacts
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest
from service.planning import AuditPlanner
from service.records.jobs import ActionRow, AuditReader, AuditRow, SignedReport
from service.scheduler.states import AuditState
from service.stamping import Stamper

_OUTCOMES: Mapping[AuditState, Outcome] = {
    AuditState.PLANNED: "under way",
    AuditState.RUNNING: "under way",
    AuditState.SIGNING: "under way",
    AuditState.SUCCEEDED: "succeeded",
    AuditState.FAILED: "failed",
    AuditState.CANCELLED: "cancelled",
}
_REPORT = WriteReport.model_fields["kind"].default
_FINDING: TypeAdapter[BindingFinding] = TypeAdapter(BindingFinding)


@final
class ReportSigner:
    """Adds the facts of the run to the figures, names the subjects, signs, stores the bundle.

    Args:
        blobs: Holds the figures and receives the bundle.
        planner: Reads requests and logs.
        reader: Knows the other audits of the log.
        signer: The service's key.
        clock: Says when the report was made.
        stamper: Has its time proven by somebody else.
    """

    def __init__(
        self,
        blobs: BlobStore,
        *,
        planner: AuditPlanner,
        reader: AuditReader,
        signer: Signer,
        clock: Clock,
        stamper: Stamper,
    ) -> None:
        self._blobs = blobs
        self._reader = reader
        self._planner = planner
        self._signer = signer
        self._clock = clock
        self._stamper = stamper

    def sign(
        self, audit: AuditRow, figures: Digest, *, actions: Sequence[ActionRow]
    ) -> SignedReport:
        """Return the signed report of an audit.

        Signing again after a crash makes another bundle with another time; the records keep one.

        Args:
            audit: The audit.
            figures: Result of its report action.
            actions: All its actions, with their results.

        Returns:
            The report; its bundle is stored durably.
        """
        now = self._clock.now().astimezone(UTC)
        facts = RunFacts(
            created=time_text(now),
            id=audit.id,
            mode="service",
            operator=audit.operator,
            wall_seconds=round((now - _moment(audit.created)).total_seconds(), 3),
            history=self._history(audit),
            executions=executions_of(
                {a.key: a.execution for a in actions if a.kind != _REPORT}, blobs=self._blobs
            ),
        )
        figured = Report.model_validate_json(bytes(self._blobs.read(figures)))
        stored = bytes(self._blobs.read(audit.request_digest))
        asked = plain_request(AuditRequest.model_validate_json(stored))
        report = figured.model_copy(update={"run": facts, "asked": asked})
        subjects = self._subjects(report, actions)
        bundle = self._stamper.stamp(sign_report(report, subjects, self._signer))
        parts = (report.examples, None if report.repair is None else report.repair.model)
        attachments = {
            Digest(part.digest): self._blobs.size(Digest(part.digest))
            for part in parts
            if part is not None
        }
        return SignedReport(
            digest=report_id(bundle),
            bundle=self._blobs.write(bundle),
            bundle_size_bytes=len(bundle),
            keyid=self._signer.public_key.keyid,
            attachments=attachments,
        )

    def _history(self, audit: AuditRow) -> AuditHistory:
        """Return all audits of the log; records are made of those only that are listed."""
        rows = self._reader.of_log(audit.tenant, audit.log_digest)
        outcomes: list[Outcome] = [
            "this one" if row.id == audit.id else _OUTCOMES[row.state] for row in rows
        ]
        numbered = list(zip(range(1, len(rows) + 1), rows, outcomes, strict=True))
        return history_of(
            outcomes,
            listed=[
                LoggedAudit(
                    number=number,
                    id=row.id,
                    created=time_text(_moment(row.created)),
                    outcome=outcome,
                    request=row.request_digest,
                    model=row.model_digest,
                )
                for number, row, outcome in numbered[-LISTED:]
            ],
        )

    def _subjects(self, report: Report, actions: Sequence[ActionRow]) -> tuple[Subject, ...]:
        artifact = report.model.source == "artifact"
        return report_subjects(
            report, model_format=self._model_format(actions) if artifact else None
        )

    def _model_format(self, actions: Sequence[ActionRow]) -> Literal["safetensors", "onnx"]:
        """Return how the artifact is written, as the action that compared it found."""
        kind = BindModel.model_fields["kind"].default
        for action in actions:
            if action.kind == kind and action.result is not None:
                return _FINDING.validate_json(bytes(self._blobs.read(action.result))).format
        raise InternalError(
            "report.model",
            expected="an action that compared the artifact with the log",
            found="none",
            remedy="Report this together with the audit request.",
        )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
