"""A stage of which the checkpoint at its end is left, and how many steps it had."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from auditor.record.exported_model import ExportedModel
from auditor.record.saved_state import SavedState
from auditor.record.training_facts import TrainingFacts
from auditor.stagelog.digest import Digest


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedStage:
    """What a stage is imported from.

    Attributes:
        name: Its name.
        saved: The checkpoint at its end.
        model: The model that it trained.
        graph: The model's ONNX graph.
        facts: What the trainer noted.
        exported: Folder of the model, if it was exported from this very checkpoint.
        tokenizer: Digest of the tokenizer that was saved with it, or before it.
        preprocessing: Digest of the image preprocessing that was saved likewise.
    """

    name: str
    saved: SavedState
    model: ExportedModel
    graph: bytes
    facts: TrainingFacts = field(default_factory=TrainingFacts)
    exported: Path | None = None
    tokenizer: Digest | None = None
    preprocessing: Digest | None = None


def step_of(stage: ImportedStage) -> int | None:
    """Return how many steps of its run a checkpoint has behind it; None if nobody noted them."""
    if stage.facts.trainer is not None:
        return stage.facts.trainer.step
    if stage.saved.step is not None:
        return stage.saved.step
    number = stage.saved.path.name.removeprefix("checkpoint-")
    return int(number) if number.isascii() and number.isdigit() else None


def step_before(stage: ImportedStage, previous: ImportedStage | None) -> int:
    """Return the steps that the same run had behind it when the stage began."""
    if previous is None or previous.saved.path.parent != stage.saved.path.parent:
        return 0
    end, before = step_of(stage), step_of(previous)
    return before if end is not None and before is not None and before < end else 0
