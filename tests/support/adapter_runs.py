"""Audits of runs that libraries trained, and the replay of their logs."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from auditor.audit.local import run_audit
from auditor.dynamics.consistency import check_segment
from auditor.dynamics.run import Run
from auditor.effects import Better, Query, QueryKind
from auditor.estimators.retrain import RetrainSettings
from auditor.plan.request import AuditRequest, Intervention
from auditor.record.evalset import write_evaluation_set
from auditor.record.recorder import Recorder
from auditor.report.schema import Report
from auditor.stagelog.content import check_content
from auditor.stagelog.digest import canonical_bytes, digest_of
from auditor.stagelog.log import StageLog
from auditor.stagelog.validate import refuse_unsupported, validate
from tests.support.builders import FixedClock, MemorySink
from tests.support.memory_blobs import MemoryBlobs
from tests.support.memory_index import MemoryIndex


def memory_recorder(model: object, *, export: object = None) -> tuple[Recorder, MemoryBlobs]:
    """Return a recorder in memory, and where its blobs go."""
    sink = MemorySink.new()
    options = {} if export is None else {"export": export}
    return Recorder(sink, model, run_name="run", clock=FixedClock(), **options), sink.blobs


def replay_verdicts(log: StageLog, blobs: MemoryBlobs) -> list[str]:
    """Return how each stage's replay compares with its recorded checkpoints."""
    validate(log)
    refuse_unsupported(log)
    check_content(log, blobs)
    run = Run(log, digest_of(log), blobs, device="cpu")
    return [
        check_segment(run, index, on_block=lambda _done, _total: None).verdict
        for index in range(len(log.stages))
    ]


def retrained_without(
    log: StageLog,
    blobs: MemoryBlobs,
    *,
    stages: Sequence[str],
    held_out: Mapping[str, Tensor],
    target: str,
) -> Report:
    """Return the audit that retrains the run without each of some stages.

    Args:
        log: The log.
        blobs: Its blobs; receives the evaluation set and every result.
        stages: Which to leave out, each alone.
        held_out: Columns of the evaluation set.
        target: Which of them is the target of the query, a mean loss.
    """
    query = Query(
        name="loss",
        kind=QueryKind.LOSS,
        better=Better.LOWER,
        data=write_evaluation_set("held-out", dict(held_out), blobs),
        target=target,
    )
    request = AuditRequest(
        log=blobs.write(canonical_bytes(log)),
        interventions=tuple(Intervention(kind="skip", stage=stage) for stage in stages),
        queries=(query,),
        estimator=RetrainSettings(),
    )
    return run_audit(request, blobs=blobs, index=MemoryIndex(), device="cpu")
