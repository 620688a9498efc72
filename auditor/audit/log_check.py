"""Which replay checks of the log an audit asks for."""

from auditor.plan.actions import CheckSegment
from auditor.plan.request import AuditRequest
from auditor.stagelog.log import StageLog

REPLAYABLE_LEVEL = 2
"""From this level on a log holds every batch and all data."""


def log_checks(request: AuditRequest, log: StageLog) -> tuple[CheckSegment, ...]:
    """Return one check a stage; none where the log cannot be replayed or nobody asked."""
    if request.consistency != "replay" or log.level < REPLAYABLE_LEVEL:
        return ()
    sample = request.consistency_sample
    return tuple(
        CheckSegment(
            log=request.log,
            stage=stage,
            sample=sample,
            seed=None if sample is None else request.seed,
        )
        for stage in range(len(log.stages))
    )
