"""What a check of a log found, in the same words wherever it ran."""

from collections.abc import Sequence

from auditor.plan.actions import SegmentFinding
from auditor.report.wording import consistency_statement
from auditor.stagelog.digest import Digest
from auditor.stagelog.log import StageLog
from auditor.stagelog.record import DigestField, Record


class LogVerdict(Record):
    """The outcome of ``stageaudit log check``, here and at a service.

    ``consistent`` is None where nothing was replayed. ``not_treated`` says why nothing could be.
    """

    digest: DigestField
    level: int
    passed: tuple[str, ...]
    not_treated: str | None = None
    segments: tuple[SegmentFinding, ...]
    consistent: bool | None
    statement: str


def log_verdict(
    log: StageLog,
    digest: Digest,
    findings: Sequence[SegmentFinding],
    *,
    not_treated: str | None = None,
) -> LogVerdict:
    """Return the verdict on a log whose form and content were accepted.

    Args:
        log: The log.
        digest: Its identity.
        findings: Of its replays, one a stage; none where nothing was replayed.
        not_treated: Why nothing can be replayed.
    """
    replays = [
        replay_passed(log, finding) for finding in findings if finding.verdict == "consistent"
    ]
    return LogVerdict(
        digest=digest,
        level=log.level,
        passed=(manifest_passed(log), content_passed(log), *replays),
        not_treated=not_treated,
        segments=tuple(findings),
        consistent=None if not findings else not any(map(_is_wrong, findings)),
        statement=consistency_statement(tuple(findings)),
    )


def manifest_passed(log: StageLog) -> str:
    """Return the line about a manifest that holds."""
    steps = log.stages[-1].end_step - log.start.step
    return f"manifest: {len(log.stages)} stages, {steps} steps"


def content_passed(log: StageLog) -> str:
    """Return the line about blobs that hold."""
    return f"blobs: {len(log.blobs())} present, digests, shapes and numbers as the manifest says"


def replay_passed(log: StageLog, finding: SegmentFinding) -> str:
    """Return the line about a stage whose replay reaches its checkpoints."""
    return (
        f"replay {log.stages[finding.stage].name}: deviation {finding.deviation:.1e}, "
        f"tolerance {finding.tolerance:.1e}"
    )


def replay_not_passed(log: StageLog, finding: SegmentFinding) -> str:
    """Return the line about a stage whose replay does not, or cannot be judged."""
    where = ""
    if finding.inconsistent_steps is not None:
        begin, end = finding.inconsistent_steps
        where = f"; first in steps {begin} to {end - 1}"
    return (
        f"{finding.verdict}: replay {log.stages[finding.stage].name}: deviation "
        f"{finding.deviation:.1e}, tolerance {finding.tolerance:.1e}, amplification "
        f"{finding.amplification:.1e}, most in {finding.worst}{where}"
    )


def causes(log: StageLog, findings: Sequence[SegmentFinding]) -> tuple[str, ...]:
    """Return why a log cannot be used: one line a stage that contradicts its checkpoints."""
    return tuple(replay_not_passed(log, finding) for finding in findings if _is_wrong(finding))


def _is_wrong(finding: SegmentFinding) -> bool:
    return finding.verdict == "inconsistent"
