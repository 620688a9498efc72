"""Read what a recorder noted of a stage that did not end."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, final

from pydantic import ValidationError

from auditor.record.stage_journal import JOURNAL_FORMAT, decode_row
from auditor.stagelog.batches import BatchRow
from auditor.stagelog.dataset import Column, Dataset, Shard
from auditor.stagelog.log import Checkpoint, StageLog
from auditor.stagelog.record import Record

R = TypeVar("R", bound=Record)


@final
@dataclass(kw_only=True)
class Notes:
    """The lines of a journal.

    Attributes:
        draft: The log; its last stage is the open one, without steps.
        rows: Examples of each step.
        numbers: Hyperparameters of each step and trained group.
        denominators: What each step's sum of losses is divided by, where that was declared.
        scales: What a gradient scaler multiplied each step's loss by.
        skipped: Steps before which a step was skipped.
        checkpoints: By the step at whose start they were taken.
        captured: The dataset of tensors that the model saw, as far as it was written.
        refused: Why the stage was not accepted when it closed.
    """

    draft: StageLog
    rows: list[tuple[BatchRow, ...]] = field(default_factory=list)
    numbers: list[list[dict[str, float]]] = field(default_factory=list)
    denominators: list[float | None] = field(default_factory=list)
    scales: list[float | None] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    checkpoints: dict[int, Checkpoint] = field(default_factory=dict)
    captured: dict[str, Dataset] = field(default_factory=dict)
    refused: str | None = None

    @property
    def first_step(self) -> int:
        """Global number of the stage's first step."""
        return self.draft.stages[-1].first_step

    @property
    def whole_steps(self) -> int:
        """For how many steps all examples are written."""
        held = {name: data.examples for name, data in (self.draft.datasets | self.captured).items()}
        for position, rows in enumerate(self.rows):
            for row in rows:
                if int(row.indices.max()) >= held.get(row.dataset, 0):
                    return position
        return len(self.rows)


def read_notes(lines: Iterable[Mapping[str, Any]]) -> Notes | None:
    """Return what a journal says up to its first damaged line; None if it names no stage."""
    notes: Notes | None = None
    early: dict[str, Dataset] = {}
    try:
        for line in lines:
            if "dataset" in line:
                known = early if notes is None else notes.draft.datasets
                known[line["dataset"]] = _record(Dataset, line["entry"])
            elif notes is not None:
                _note(notes, line)
            elif line.get("format") == JOURNAL_FORMAT:
                notes = Notes(draft=_record(StageLog, line["log"]))
            else:
                return None
    except (ValidationError, KeyError, TypeError, ValueError):
        # Damaged by the crash of the machine: what came before it counts.
        return notes
    return notes


def _note(notes: Notes, line: Mapping[str, Any]) -> None:
    if "step" in line:
        if line["step"] != notes.first_step + len(notes.rows):
            raise ValueError("a step is missing")
        notes.rows.append(tuple(decode_row(row) for row in line["rows"]))
        notes.numbers.append(line["numbers"])
        notes.denominators.append(line["denominator"])
        notes.scales.append(line.get("scale"))
        notes.skipped += [line["step"]] * line["skipped_before"]
    elif "checkpoint" in line:
        checkpoint = _record(Checkpoint, line["checkpoint"])
        notes.checkpoints[checkpoint.step] = checkpoint
    elif "captured" in line:
        shard = _record(Shard, line["shard"])
        before = notes.captured.get(line["captured"])
        shards = (*(() if before is None else before.shards), shard)
        notes.captured[line["captured"]] = Dataset(
            examples=sum(one.count for one in shards),
            columns={name: _record(Column, info) for name, info in line["columns"].items()},
            shards=shards,
        )
    elif "refused" in line:
        notes.refused = str(line["refused"])


def _record(kind: type[R], value: object) -> R:
    """Return a record of JSON values, which are laxer in Python than in JSON."""
    return kind.model_validate_json(json.dumps(value))
