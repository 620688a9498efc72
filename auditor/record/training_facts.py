"""What a trainer noted beside a checkpoint, and what nobody noted."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from auditor.record.exported_model import ExportedModel
from auditor.record.optimizer_file import OPTIMIZER_FILE, NamedOptimizer, named_optimizer
from auditor.record.pickled import PickleReader
from auditor.record.trainer_state import TrainerState, read_trainer_state
from auditor.stagelog.digest import sha256
from auditor.stagelog.schedule import Schedule

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingFacts:
    """What is known of a stage's training beside the weights.

    Attributes:
        folder: Where the facts were found; None if there are none.
        trainer: Steps and rates.
        optimizer: Its state at the end, by name.
        gaps: What is not known, in words.
    """

    folder: Path | None = None
    trainer: TrainerState | None = None
    optimizer: NamedOptimizer | None = None
    gaps: tuple[str, ...] = ()


def training_facts(path: Path, model: ExportedModel, *, read_pickle: PickleReader) -> TrainingFacts:
    """Return what a trainer noted beside a checkpoint, or in the step folder with its weights.

    Args:
        path: The checkpoint.
        model: Its exported form.
        read_pickle: Reads ``optimizer.pt``; ``training_args.bin`` is not opened.

    Raises:
        InputError: If the trainer's notes are damaged.
        UnsupportedError: If ``optimizer.pt`` holds more than plain values.
    """
    folder = path if (path / "trainer_state.json").is_file() else _step_folder(path)
    trainer = None if folder is None else read_trainer_state(folder)
    if folder is None or trainer is None:
        return TrainingFacts(gaps=("no trainer_state.json: steps and learning rates",))
    if not len(trainer.logged):
        return TrainingFacts(folder=folder, trainer=trainer, gaps=("learning rates",))
    if not (folder / OPTIMIZER_FILE).is_file():
        gap = f"no {OPTIMIZER_FILE}: optimizer, weight decay and optimizer state"
        return TrainingFacts(folder=folder, trainer=trainer, gaps=(gap,))
    found = named_optimizer(
        read_pickle(folder / OPTIMIZER_FILE), order=model.order, infos=model.parameters
    )
    if isinstance(found, str):
        return TrainingFacts(
            folder=folder, trainer=trainer, gaps=(f"{OPTIMIZER_FILE} is left out: {found}",)
        )
    return TrainingFacts(folder=folder, trainer=trainer, optimizer=found)


def stage_schedule(
    facts: TrainingFacts, *, first: int, steps: int, begins_at: int
) -> Schedule | None:
    """Return the schedule of a stage's steps; None where a part of it is not known.

    Args:
        facts: What the trainer noted.
        first: Steps of the same run before the stage.
        steps: Steps of the stage.
        begins_at: Global number of its first step.
    """
    if facts.trainer is None or facts.optimizer is None:
        return None
    rates = facts.trainer.rate_per_step(first, first + steps)
    if rates is None:
        return None
    optimizer = facts.optimizer
    columns = {
        name: np.tile([numbers[name] for numbers in optimizer.numbers], (steps, 1))
        for name in optimizer.numbers[0]
    }
    columns["lr"] = rates[:, None] * np.array(optimizer.rates)[None, :]  # [steps, groups]
    return Schedule(first_step=begins_at, columns=columns)


def _step_folder(path: Path) -> Path | None:
    """Return the step folder inside a run's folder that holds the very same weights."""
    if not path.is_dir():
        return None
    for name in _WEIGHTS:
        if (path / name).is_file():
            own = sha256((path / name).read_bytes())
            for folder in sorted(path.glob("checkpoint-*"), key=_number, reverse=True):
                same = folder / name
                if same.is_file() and sha256(same.read_bytes()) == own:
                    return folder
            return None
    return None


def _number(folder: Path) -> int:
    text = folder.name.rpartition("-")[2]
    return int(text) if text.isascii() and text.isdigit() else -1
