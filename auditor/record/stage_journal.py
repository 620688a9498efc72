"""What a recorder notes of an open stage, line by line, so that a crash loses little."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Protocol, final

import numpy as np

from auditor.stagelog.batches import BatchRow
from auditor.stagelog.dataset import Column, Dataset, Shard
from auditor.stagelog.log import Checkpoint, StageLog

JOURNAL_FORMAT = "stageaudit.journal.v1"


class Journal(Protocol):
    """Lines that survive the death of the process."""

    def append(self, line: Mapping[str, Any]) -> None:
        """Add one line."""

    def sync(self) -> None:
        """Make all lines survive that of the machine."""

    def close(self) -> None:
        """Keep the lines as they are."""

    def discard(self) -> None:
        """Remove them: the log holds what they noted."""


@final
class StageJournal:
    """Writes the lines of one stage.

    Args:
        journal: Where they go; None writes nothing (a sink in memory survives no crash).
    """

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal

    @property
    def listens(self) -> bool:
        """Whether lines are kept."""
        return self._journal is not None

    def begin(self, draft: StageLog) -> None:
        """Note everything about the stage but its steps; ``draft`` ends with its entry."""
        self._append({
            "format": JOURNAL_FORMAT,
            "log": draft.model_dump(mode="json", by_alias=True),
        })

    def step(
        self,
        step: int,
        rows: Sequence[BatchRow],
        numbers: Sequence[Mapping[str, float]],
        *,
        denominator: float | None,
        scale: float | None,
        skipped_before: int,
    ) -> None:
        """Note a step that was taken.

        Args:
            step: Its global number.
            rows: Its examples.
            numbers: Hyperparameters of each trained group.
            denominator: What its sum of losses is divided by, where that was declared.
            scale: What a gradient scaler multiplied its loss by.
            skipped_before: How many steps were skipped between the step before and this one.
        """
        if self._journal is not None:
            self._journal.append({
                "step": step,
                "rows": [encode_row(row) for row in rows],
                "numbers": [dict(group) for group in numbers],
                "denominator": denominator,
                "scale": scale,
                "skipped_before": skipped_before,
            })

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Note a checkpoint whose blobs are written, and make all lines so far durable."""
        self._append({"checkpoint": checkpoint.model_dump(mode="json")})
        if self._journal is not None:
            self._journal.sync()

    def dataset(self, name: str, dataset: Dataset) -> None:
        """Note a dataset that was declared while the stage is open."""
        self._append({"dataset": name, "entry": dataset.model_dump(mode="json")})

    def shard(self, name: str, columns: Mapping[str, Column], shard: Shard) -> None:
        """Note captured examples whose blob is written."""
        self._append({
            "captured": name,
            "columns": {column: info.model_dump(mode="json") for column, info in columns.items()},
            "shard": shard.model_dump(mode="json"),
        })

    def refused(self, reason: str) -> None:
        """Note that the stage was not accepted."""
        self._append({"refused": reason})

    def close(self) -> None:
        """Keep the lines."""
        if self._journal is not None:
            self._journal.close()

    def discard(self) -> None:
        """Remove the lines."""
        if self._journal is not None:
            self._journal.discard()

    def _append(self, line: Mapping[str, Any]) -> None:
        if self._journal is not None:
            self._journal.append(line)


def encode_row(row: BatchRow) -> dict[str, Any]:
    """Return a row as JSON values; arrays as dtype and base64 of their little-endian bytes."""
    return {field.name: _encode(getattr(row, field.name)) for field in fields(row)}


def decode_row(values: Mapping[str, Any]) -> BatchRow:
    """Return the row that :func:`encode_row` wrote.

    Raises:
        KeyError: If a field is missing.
        TypeError: If there is an unknown one.
        ValueError: If an array cannot be read.
    """
    plain: dict[str, Any] = {name: _decode(value) for name, value in values.items()}
    return BatchRow(**plain)


def _encode(value: object) -> object:
    if not isinstance(value, np.ndarray):
        return value
    plain = np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"), copy=False)
    return {"dtype": plain.dtype.str, "base64": base64.b64encode(plain.tobytes()).decode()}


def _decode(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    dtype = np.dtype(str(value["dtype"]))
    if dtype.kind not in "iuf":
        raise ValueError(f"unexpected dtype {dtype}")
    return np.frombuffer(base64.b64decode(value["base64"]), dtype=dtype).copy()
