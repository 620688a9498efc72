"""Replay a stage's first steps through its exported graph and compare with what happened."""

from collections.abc import Mapping
from typing import final

from auditor.dynamics.consistency import check_segment
from auditor.dynamics.run import Run
from auditor.errors import StageLogError
from auditor.plan.actions import SegmentFinding
from auditor.record.facts import ForwardFacts
from auditor.stagelog.batches import read_batches, write_batches
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest, digest_of, parse_digest, sha256
from auditor.stagelog.log import CheckpointRole, Stage, StageLog
from auditor.stagelog.rules_stages import witness_step
from auditor.stagelog.schedule import Schedule, read_schedule, write_schedule


def require_reproducible(
    log: StageLog,
    blobs: BlobStore,
    *,
    facts: ForwardFacts,
    device: str,
    named: Mapping[Digest, memoryview],
) -> SegmentFinding:
    """Replay the last stage from its start to its witness and refuse a deviation.

    Args:
        log: A log whose last stage has just ended.
        blobs: Its blobs.
        facts: Modes of the modules while it trained, for the diagnosis.
        device: Where it trained: another device rounds differently.
        named: Blobs that the log names and does not hold.

    Returns:
        What the comparison found.

    Raises:
        StageLogError: If the replay ends elsewhere than the training did.
    """
    index = len(log.stages) - 1
    scratch = _Scratch(blobs, named)
    short = shortened(log, scratch)
    run = Run(short, digest_of(short), scratch, device=device)
    finding = check_segment(run, index, on_block=lambda _done, _total: None)
    if finding.verdict == "inconsistent":
        stage = log.stages[index]
        raise StageLogError(
            f"stage {stage.name!r}, steps {stage.first_step} to {short.stages[index].end_step}",
            expected=f"a replay through the exported graph within {finding.tolerance:.1e} "
            "of the trained parameters",
            found=f"a relative deviation of {finding.deviation:.1e}, most in {finding.worst}",
            remedy=_likely_causes(stage, facts),
        )
    return finding


def shortened(log: StageLog, blobs: BlobStore) -> StageLog:
    """Return the log with its last stage cut at the witness, which becomes its boundary.

    Args:
        log: The log.
        blobs: Read for the stage's rows, written with the shorter ones.
    """
    stage = log.stages[-1]
    end = witness_step(stage)
    if end == stage.end_step or stage.schedule is None or stage.batches is None:
        return log
    where = f"stages[{len(log.stages) - 1}]"
    schedule = read_schedule(
        blobs.read(parse_digest(stage.schedule, where=where)), where=f"{where}.schedule"
    )
    batches = read_batches(
        blobs.read(parse_digest(stage.batches, where=where)), where=f"{where}.batches"
    )
    columns = {name: values[: end - stage.first_step] for name, values in schedule.columns.items()}
    witness = next(c for c in stage.checkpoints if c.step == end)
    cut = stage.model_copy(
        update={
            "end_step": end,
            "ema_decay": None,  # the witness holds the parameters, not yet their average
            "schedule": blobs.write(
                write_schedule(Schedule(first_step=stage.first_step, columns=columns))
            ),
            "batches": blobs.write(
                write_batches(
                    [batches.rows(step) for step in range(stage.first_step, end)],
                    first_step=stage.first_step,
                )
            ),
            "checkpoints": (witness.model_copy(update={"role": CheckpointRole.BOUNDARY}),),
        }
    )
    return log.model_copy(update={"stages": (*log.stages[:-1], cut)})


def _likely_causes(stage: Stage, facts: ForwardFacts) -> str:
    causes = []
    if facts.batch_norm == "batch":
        causes.append("a batch norm in train mode that sees other batches than declared")
    if facts.dropout:
        causes.append(f"active dropout {facts.dropout}")
    if facts.padding:
        causes.append("padding tokens that reach the loss (an embedding with padding_idx)")
    if facts.lower_precision:
        causes.append("autocast")
        if stage.loss_scale is None:
            causes.append("a gradient scaler that was not passed as scaler=...")
    causes += [
        f"another loss than {stage.loss.kind} ({stage.loss.reduction})",
        "augmentation that the declared columns do not hold (use stage.batch_tensors)",
        f"accumulation other than {stage.accumulation}, or undeclared gradient clipping",
        "functional dropout, or batches declared in another order than they were used",
    ]
    return "Likely causes: " + "; ".join(causes) + '. Or pass self_check="off".'


@final
class _Scratch:
    """A store whose writes stay in memory: the shortened stage is no part of the log."""

    def __init__(self, blobs: BlobStore, named: Mapping[Digest, memoryview]) -> None:
        self._blobs = blobs
        self._own: dict[Digest, bytes | memoryview] = dict(named)

    def has(self, digest: Digest) -> bool:
        """Return whether the blob is stored."""
        return digest in self._own or self._blobs.has(digest)

    def size(self, digest: Digest) -> int:
        """Return the blob's length in bytes."""
        return len(self._own[digest]) if digest in self._own else self._blobs.size(digest)

    def read(self, digest: Digest) -> memoryview:
        """Return the whole blob."""
        own = self._own.get(digest)
        return self._blobs.read(digest) if own is None else memoryview(own)

    def write(self, data: bytes | bytearray | memoryview) -> Digest:
        """Return the digest of the bytes, kept in memory."""
        digest = sha256(data)
        self._own[digest] = bytes(data)
        return digest
