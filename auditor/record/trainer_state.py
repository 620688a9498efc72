"""What the Hugging Face Trainer left beside a checkpoint: steps and learning rates, as JSON.

``training_args.bin`` is a pickle of settings and is not opened.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from auditor.errors import InputError
from auditor.record.text_tokenizer import read_json_object
from auditor.stagelog.rules_stages import MAX_STEPS

TRAINER_STATE = "trainer_state.json"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TrainerState:
    """What ``trainer_state.json`` says.

    Attributes:
        step: Optimizer steps until the checkpoint.
        logged: Steps at which a rate was logged, [n] int64, rising.
        rates: Learning rate used by each of them, [n].
        losses: Mean training loss logged with it, [n]; not a number where there is none.
    """

    step: int
    logged: np.ndarray
    rates: np.ndarray
    losses: np.ndarray

    def rate_per_step(self, first: int, end: int) -> np.ndarray | None:
        """Return the rate of steps first + 1 to end, [end - first]; None if none was logged.

        Between logged steps rates are interpolated; before the first and after the last they are
        as there.
        """
        inside = (self.logged > first) & (self.logged <= end)
        if not inside.any():
            return None
        steps = np.arange(first + 1, end + 1)
        rates: np.ndarray = np.interp(steps, self.logged[inside], self.rates[inside])
        return rates

    def logged_every(self, first: int, end: int) -> bool:
        """Say whether the rate of each of these steps was logged."""
        return set(range(first + 1, end + 1)) <= set(self.logged.tolist())


def read_trainer_state(folder: Path) -> TrainerState | None:
    """Return what the trainer noted in a checkpoint's folder; None where there is no such file.

    Raises:
        InputError: If the file is not the trainer's.
    """
    path = folder / TRAINER_STATE
    if not path.is_file():
        return None
    plain = read_json_object(path)
    step, history = plain.get("global_step"), plain.get("log_history", [])
    if (
        not isinstance(step, int)
        or isinstance(step, bool)
        or not 0 < step <= MAX_STEPS
        or not isinstance(history, list)
    ):
        raise InputError(
            f"{folder.name}/{TRAINER_STATE}",
            expected=f"a global_step from 1 to {MAX_STEPS} and a list log_history",
            found=f"{step} and {type(history).__name__}",
            remedy="Restore the file, or delete it to import the weights alone.",
        )
    rows: dict[int, tuple[float, float]] = {}
    for entry in history:
        if isinstance(entry, dict) and "learning_rate" in entry:
            at = _number(entry, "step", folder=folder)
            rate = _number(entry, "learning_rate", folder=folder)
            loss = entry.get("loss")
            rows[int(at)] = (rate, float(loss) if isinstance(loss, int | float) else np.nan)
    logged = sorted(rows)
    return TrainerState(
        step=step,
        logged=np.array(logged, dtype=np.int64),
        rates=np.array([rows[at][0] for at in logged], dtype=np.float64),
        losses=np.array([rows[at][1] for at in logged], dtype=np.float64),
    )


def _number(entry: dict[str, Any], field: str, *, folder: Path) -> float:
    value = entry.get(field)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < np.inf:
        raise InputError(
            f"{folder.name}/{TRAINER_STATE}: log_history.{field}",
            expected="a finite number >= 0",
            found=value,
            remedy="Restore the file, or delete it to import the weights alone.",
        )
    return float(value)
