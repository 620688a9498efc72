"""Audits of a log as a report on the same log tells them."""

from dataclasses import dataclass

from auditor.stagelog.digest import Digest
from service.scheduler.states import AuditState


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditOfLog:
    """What is told of an audit beside a report on the same log."""

    id: str
    state: AuditState
    request_digest: Digest
    model_digest: Digest | None
    created: float  #: seconds since 1970
