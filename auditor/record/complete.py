"""Turn the entry of an open stage into that of a finished one."""

from collections.abc import Mapping, Sequence
from typing import Any

from auditor.record.steps import StepTable
from auditor.stagelog.batches import write_batches
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.dataset import Dataset
from auditor.stagelog.log import Checkpoint, StageLog
from auditor.stagelog.schedule import write_schedule


def complete_stage(
    draft: StageLog,
    *,
    table: StepTable,
    checkpoints: Sequence[Checkpoint],
    captured: Mapping[str, Dataset],
    blobs: BlobStore,
) -> StageLog:
    """Return the log whose last stage has its steps; schedule and batches are written.

    Args:
        draft: The log with the stage as it was declared, without steps.
        table: The steps.
        checkpoints: In order, the last one at the end of the steps.
        captured: Datasets of tensors that the stage's model saw.
        blobs: Receives schedule and batches.
    """
    stage, batches = draft.stages[-1], table.batches()
    used = dict.fromkeys(row.dataset for rows in table.rows for row in rows)
    changes: dict[str, Any] = {
        "end_step": table.next_step,
        "datasets": tuple(used),
        "examples_per_step": max(
            batches.examples(step) for step in range(table.first_step, table.next_step)
        ),
        "schedule": blobs.write(write_schedule(table.schedule())),
        "batches": blobs.write(write_batches(table.rows, first_step=table.first_step)),
        "checkpoints": tuple(checkpoints),
    }
    if table.skipped:
        changes["skipped"] = tuple(table.skipped)
    if table.recorded_denominators:
        changes["loss_denominator"] = "recorded"
    if table.recorded_scales:
        changes["loss_scale"] = "recorded"
    if captured:
        changes["stochastic"] = stage.stochastic.model_copy(update={"augmentation": "recorded"})
    finished = stage.model_copy(update=changes)
    return draft.model_copy(
        update={
            "datasets": {**draft.datasets, **captured},
            "stages": (*draft.stages[:-1], finished),
        }
    )
