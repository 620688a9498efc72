"""Can the noise that a request asks for be measured?"""

from collections.abc import Sequence

from auditor.errors import InputError, PreconditionError
from auditor.stagelog.log import StageLog


def check_noise(noise: Sequence[str], log: StageLog) -> None:
    """Refuse noise that is asked for twice, or that a log without batches cannot show.

    Raises:
        InputError: If a kind is named twice.
        PreconditionError: If the log's level is too low.
    """
    if len(set(noise)) < len(noise):
        raise InputError(
            "noise",
            expected="order and rerun once each",
            found=", ".join(noise),
            remedy="Remove the repetition.",
        )
    if noise and log.level < 2:
        raise PreconditionError(
            "noise",
            expected="a log of level 2: schedules, optimizer states and every batch with its data",
            found=f"level {log.level}",
            remedy="Ask without noise, or record the run with batches.",
        )
