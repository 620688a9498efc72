"""Checks of stored logs: asked for, planned, judged. Blocking; called from threads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from pydantic import TypeAdapter, ValidationError

from auditor.audit.log_check import check_actions
from auditor.audit.log_verdict import causes, log_verdict
from auditor.edge.clock import Clock
from auditor.errors import InputError
from auditor.plan.actions import SegmentFinding
from auditor.plan.log_check_request import LogCheckRequest
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest, canonical_bytes, digest_of
from service.planning import AuditPlanner
from service.records.base import CatalogueRecords, RequestKey
from service.records.checked_log import CheckedLog
from service.records.jobs import (
    ActionRow,
    AuditReader,
    AuditRow,
    NewAction,
    NewAudit,
)
from service.submission import Submission
from service.ulid import new_ulid

NORMAL_PRIORITY = 1

_FINDING: TypeAdapter[SegmentFinding] = TypeAdapter(SegmentFinding)


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckAsk:
    """A request for a check as it came."""

    tenant: str
    log: Digest
    sample: float | None
    seed: int
    request_id: str | None


@final
class LogJudge:
    """Plans checks and says what their replays mean.

    Args:
        blobs: Holds requests, logs and findings.
        planner: Reads logs.
    """

    def __init__(self, blobs: BlobStore, *, planner: AuditPlanner) -> None:
        self._blobs = blobs
        self._planner = planner

    def actions_of(self, request: LogCheckRequest) -> tuple[NewAction, ...]:
        """Return every action of a check.

        Raises:
            UnsupportedError: If the log uses what this version does not treat.
        """
        specs = check_actions(request, self._planner.log(request.log))
        return self._planner.actions(specs, log=request.log)

    def actions(self, check: AuditRow) -> tuple[NewAction, ...]:
        """Return every action of a stored check."""
        return self.actions_of(self._request(check))

    def judge(self, check: AuditRow, actions: Sequence[ActionRow]) -> CheckedLog:
        """Return what the finished actions of a check found."""
        request = self._request(check)
        log = self._planner.log(request.log)
        results = {action.key: action.result for action in actions}
        findings = [
            _FINDING.validate_json(bytes(self._blobs.read(result)))
            for action in self.actions_of(request)
            if (result := results[action.key]) is not None
        ]
        verdict = log_verdict(log, check.log_digest, findings)
        return CheckedLog(
            complete=request.sample is None,
            consistent=verdict.consistent is True,
            causes=causes(log, findings),
            verdict=canonical_bytes(verdict.model_dump(mode="json")).decode(),
        )

    def _request(self, check: AuditRow) -> LogCheckRequest:
        return LogCheckRequest.model_validate_json(bytes(self._blobs.read(check.request_digest)))


@final
class LogChecks:
    """The way in for checks of logs; thread-safe.

    Args:
        catalogue: What the tenant has registered.
        blobs: Where accepted requests are kept.
        planner: Knows which results are gone.
        judge: Plans checks.
        submission: Stores them beside the audits.
        reader: Which results are there.
        clock: Names them.
    """

    def __init__(
        self,
        *,
        catalogue: CatalogueRecords,
        blobs: BlobStore,
        planner: AuditPlanner,
        judge: LogJudge,
        submission: Submission,
        reader: AuditReader,
        clock: Clock,
    ) -> None:
        self._catalogue = catalogue
        self._blobs = blobs
        self._planner = planner
        self._judge = judge
        self._submission = submission
        self._reader = reader
        self._clock = clock

    def create(self, ask: CheckAsk) -> AuditRow:
        """Store a check and return it; nothing is stored when it is refused.

        Raises:
            UnavailableError: If the service is stopping.
            ArtifactMissingError: If the tenant has no such log.
            InputError: If the sample is no part of a whole.
            UnsupportedError: If the log uses what this version does not treat.
            RequestIdReusedError: If the request id was used for another request.
            ResourceError: If too many audits and checks of the tenant are under way.
        """
        self._submission.require_open()
        request = _request(ask)
        self._catalogue.stage_log(ask.tenant, ask.log)
        actions = self._judge.actions_of(request)
        known = self._reader.known_results(ask.tenant, [action.key for action in actions])
        gone = self._planner.missing(known.values())
        data = canonical_bytes(request)
        digest = self._blobs.write(data)
        self._catalogue.add_blobs(ask.tenant, {digest: len(data)})
        new = NewAudit(
            id=new_ulid(self._clock.now()),
            tenant=ask.tenant,
            request_digest=digest,
            log_digest=ask.log,
            model_digest=None,
            priority=NORMAL_PRIORITY,
            deadline=self._submission.usual_deadline(),
            operator=None,
            request=_request_key(ask.request_id, request),
            max_live_audits=self._submission.live_audits,
            actions=actions,
            kind="check",
        )
        return self._submission.store(new, gone=gone)


def _request(ask: CheckAsk) -> LogCheckRequest:
    try:
        return LogCheckRequest(log=ask.log, sample=ask.sample, seed=ask.seed)
    except ValidationError as error:
        raise InputError(
            str(error.errors()[0]["loc"][0]),
            expected="a sample above 0 and at most 1, a seed from 0 to 2^53",
            found=f"sample {ask.sample}, seed {ask.seed}",
            remedy="Leave the sample out to replay everything.",
        ) from error


def _request_key(identity: str | None, request: LogCheckRequest) -> RequestKey | None:
    if identity is None:
        return None
    return RequestKey(id=identity, digest=digest_of(request))
