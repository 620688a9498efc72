"""Which replays check a log, for an audit or on their own."""

from auditor.plan.actions import CheckSegment
from auditor.plan.log_check_request import LogCheckRequest
from auditor.plan.request import AuditRequest
from auditor.stagelog.log import StageLog

REPLAYABLE_LEVEL = 2
"""From this level on a log holds every batch and all data."""


def log_checks(request: AuditRequest, log: StageLog) -> tuple[CheckSegment, ...]:
    """Return one check a stage; none where the log cannot be replayed or nobody asked."""
    if request.consistency != "replay" or log.level < REPLAYABLE_LEVEL:
        return ()
    return _checks(request.log, log, sample=request.consistency_sample, seed=request.seed)


def check_actions(request: LogCheckRequest, log: StageLog) -> tuple[CheckSegment, ...]:
    """Return one check a stage, in their order."""
    return _checks(request.log, log, sample=request.sample, seed=request.seed)


def _checks(
    digest: str, log: StageLog, *, sample: float | None, seed: int
) -> tuple[CheckSegment, ...]:
    return tuple(
        CheckSegment(log=digest, stage=stage, sample=sample, seed=None if sample is None else seed)
        for stage in range(len(log.stages))
    )
