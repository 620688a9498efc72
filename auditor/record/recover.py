"""Make a log of what a recorder left behind when it did not end."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from auditor.edge.folder import BLOBS_FOLDER, LOG_FILE, FolderBlobs, read_log, write_log
from auditor.edge.journal import JOURNAL_FILE, read_journal
from auditor.errors import ArtifactMissingError, AuditorError, StageLogError
from auditor.record.complete import complete_stage
from auditor.record.notes import Notes, read_notes
from auditor.record.steps import StepTable, weighs_microbatches
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest
from auditor.stagelog.log import Checkpoint, CheckpointRole, Origin, StageLog
from auditor.stagelog.rules_parameters import present_after
from auditor.stagelog.validate import validate


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Recovered:
    """What became of a recording that did not end.

    Attributes:
        log: The valid log.
        digest: Its identity.
        gaps: What is not in it, for people; empty when nothing is missing.
        kept_journal: Where the notes of steps lie that have no checkpoint after them.
    """

    log: StageLog
    digest: Digest
    gaps: tuple[str, ...]
    kept_journal: Path | None


def recover(folder: Path) -> Recovered:
    """Return the log of a folder whose recording was cut off; its manifest is written.

    Kept are all finished stages and, of the open one, the steps up to its last checkpoint, whose
    blobs must all be whole: that checkpoint becomes the boundary. What is missing is declared in
    the manifest's ``origin``. Notes of later steps stay in the folder under another name.

    Raises:
        ArtifactMissingError: If there is nothing that a log could be made of.
        StageLogError: If the manifest is damaged.
    """
    blobs = FolderBlobs(folder / BLOBS_FOLDER)
    notes = read_notes(read_journal(folder / JOURNAL_FILE))
    finished = read_log(folder)[0] if (folder / LOG_FILE).exists() else None
    gaps: list[str] = []
    log = None
    if notes is not None and not _holds(finished, notes.draft.stages[-1].name):
        log = _with_open_stage(notes, blobs, gaps=gaps)
    elif notes is None and (folder / JOURNAL_FILE).exists():
        gaps.append("the stage that was open had taken no step: nothing of it was kept")
    if log is None:
        if finished is None:
            raise _nothing(folder, gaps)
        log = _whole_stages(finished, blobs, gaps=gaps)
    if gaps:
        log = log.model_copy(update={"origin": Origin(kind="recovered", gaps=tuple(gaps))})
    validate(log)
    digest = write_log(folder, log)
    return Recovered(
        log=log, digest=digest, gaps=tuple(gaps), kept_journal=_put_aside(folder / JOURNAL_FILE)
    )


def _with_open_stage(notes: Notes, blobs: BlobStore, *, gaps: list[str]) -> StageLog | None:
    """Return the log with the open stage cut at its last whole checkpoint; None without one."""
    stage = notes.draft.stages[-1]
    first, taken = stage.first_step, len(notes.rows)
    what = f"stage {stage.name!r} was cut off after step {first + taken - 1}"
    if notes.refused is not None:
        gaps.append(f"stage {stage.name!r} was refused when it closed: {notes.refused[:500]}")
        return None
    usable = [
        c
        for step, c in sorted(notes.checkpoints.items())
        if first < step <= first + notes.whole_steps and _is_whole(c, blobs)
    ]
    if not usable:
        gaps.append(f"{what}, before any checkpoint was written: nothing of it was kept")
        return None
    last = usable[-1].step
    lost = first + taken - last
    gaps.append(
        f"{what}; it ends here at step {last - 1}, before its last checkpoint"
        + (f"; {lost} recorded steps after it have no checkpoint" if lost else "")
    )
    table = StepTable(
        stage=stage.name,
        first_step=first,
        kind=stage.optimizer.kind,
        names={},
        accumulation=stage.accumulation,
        mean=weighs_microbatches(stage.loss, stage.accumulated),
        groups=tuple(group.parameters for group in stage.groups),
        rows=notes.rows[: last - first],
        numbers=notes.numbers[: last - first],
        denominators=notes.denominators[: last - first],
        scales=notes.scales[: last - first],
        skipped=[step for step in notes.skipped if step < last],
    )
    boundary = usable[-1].model_copy(update={"role": CheckpointRole.BOUNDARY})
    # A stage that was cut off did not release its average.
    raw = stage.model_copy(update={"ema_decay": None, "ema_from": None})
    draft = notes.draft.model_copy(update={"stages": (*notes.draft.stages[:-1], raw)})
    return complete_stage(
        draft,
        table=table,
        checkpoints=(*usable[:-1], boundary),
        captured=notes.captured,
        blobs=blobs,
    )


def _whole_stages(log: StageLog, blobs: BlobStore, *, gaps: list[str]) -> StageLog:
    """Return the log up to the last stage whose blobs are all whole."""
    for count in range(len(log.stages), 0, -1):
        part = _first_stages(log, count)
        damaged = [digest for digest in _held(part) if not _is_readable(Digest(digest), blobs)]
        if not damaged:
            if count < len(log.stages):
                names = ", ".join(repr(stage.name) for stage in log.stages[count:])
                gaps.append(f"stages {names}: blobs are missing or damaged")
            return part
    raise StageLogError(
        "stages",
        expected="at least one stage whose blobs are all whole",
        found="none",
        remedy="Restore the folder from a copy; nothing was changed.",
    )


def _first_stages(log: StageLog, count: int) -> StageLog:
    """Return the log of the first stages, without what only later ones use."""
    stages = log.stages[:count]
    if count == len(log.stages):
        return log
    graphs = {stage.graph for stage in stages}
    datasets = {name for stage in stages for name in stage.datasets}
    known = frozenset().union(*(present_after(log, index) for index in range(-1, count)))
    return log.model_copy(
        update={
            "stages": stages,
            "graphs": {name: graph for name, graph in log.graphs.items() if name in graphs},
            "datasets": {name: data for name, data in log.datasets.items() if name in datasets},
            "parameters": {n: info for n, info in log.parameters.items() if n in known},
        }
    )


def _is_whole(checkpoint: Checkpoint, blobs: BlobStore) -> bool:
    digests = (checkpoint.parameters, checkpoint.optimizer)
    return all(_is_readable(Digest(digest), blobs) for digest in digests if digest is not None)


def _held(log: StageLog) -> list[str]:
    """Return the blobs that the folder must hold."""
    return [digest for digest in log.blobs() if digest not in (log.external or {})]


def _is_readable(digest: Digest, blobs: BlobStore) -> bool:
    try:
        blobs.read(digest)
    except AuditorError:
        return False
    return True


def _holds(log: StageLog | None, stage: str) -> bool:
    return log is not None and stage in [known.name for known in log.stages]


def _put_aside(journal: Path) -> Path | None:
    """Rename the journal, so that the folder can be recorded into and nothing noted is lost."""
    if not journal.exists():
        return None
    number = 1
    while (target := journal.with_name(f"recovered-{number}.jsonl")).exists():
        number += 1
    return journal.rename(target)


def _nothing(folder: Path, gaps: Sequence[str]) -> ArtifactMissingError:
    return ArtifactMissingError(
        str(folder),
        expected=f"{LOG_FILE}, or {JOURNAL_FILE} with a checkpoint",
        found=gaps[0] if gaps else "neither",
        remedy="The training got no further than its first checkpoint: start again; "
        "cadence_steps=... in run.stage keeps more checkpoints.",
    )
