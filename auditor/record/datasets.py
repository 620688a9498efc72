"""Datasets of a run: written when declared, or captured tensor by tensor while a stage trains."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from auditor.errors import StageLogError
from auditor.record.evalset import SHARD_BYTES, describe_column, write_dataset
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.dataset import Column, Dataset, Shard

SAMPLE_ROWS = 2


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetHandle:
    """A recorded dataset, to be named in ``stage.batch``.

    Attributes:
        name: Its name in the log.
        examples: Its size.
        sample: A few rows of each column: examples for exporting a graph.
    """

    name: str
    examples: int
    sample: Mapping[str, Tensor]


def _at_once(job: Callable[[], None]) -> None:
    job()


def _ignore(_name: str, _columns: Mapping[str, Column], _shard: Shard) -> None:
    """Nobody needs to know."""


@final
@dataclass(kw_only=True)
class Capture:
    """Tensors that the model saw, collected as a dataset of their own.

    Attributes:
        name: Name of the dataset.
        blobs: Where shards go.
        shard_bytes: A shard is written when this much has been collected.
        submit: Runs what writes a shard, now or soon, one after the other.
        on_shard: Told about every shard that is written.
    """

    name: str
    blobs: BlobStore
    shard_bytes: int = SHARD_BYTES
    submit: Callable[[Callable[[], None]], None] = _at_once
    on_shard: Callable[[str, Mapping[str, Column], Shard], None] = _ignore
    examples: int = 0
    _columns: dict[str, Column] = field(default_factory=dict)
    _shards: list[Shard] = field(default_factory=list)
    _waiting: list[dict[str, Tensor]] = field(default_factory=list)
    _waiting_bytes: int = 0

    def append(self, columns: Mapping[str, Tensor]) -> range:
        """Return the positions of examples that are copied to the dataset's end.

        Raises:
            StageLogError: If columns differ from those captured before, or among each other in
                length.
        """
        tensors: dict[str, Tensor] = {}
        described: dict[str, Column] = {}
        for name, values in columns.items():
            tensor, described[name] = describe_column(name, values)
            tensors[name] = tensor.clone()
        lengths = {tensor.shape[0] for tensor in tensors.values()}
        self._columns = self._columns or described
        if described != self._columns or len(lengths) != 1 or 0 in lengths:
            raise StageLogError(
                f"dataset {self.name!r}",
                expected=f"columns {_summary(self._columns)} of one length, at least 1",
                found=f"{_summary(described)}, lengths {sorted(lengths)}",
                remedy="Capture the same columns at every step.",
            )
        count = lengths.pop()
        self._waiting.append(tensors)
        self._waiting_bytes += sum(t.numel() * t.element_size() for t in tensors.values())
        if self._waiting_bytes >= self.shard_bytes:
            self.flush()
        begin, self.examples = self.examples, self.examples + count
        return range(begin, begin + count)

    def finish(self) -> Dataset:
        """Return the manifest entry of everything captured; earlier shards must be written."""
        self._write(self._take())
        return Dataset(examples=self.examples, columns=self._columns, shards=tuple(self._shards))

    def flush(self) -> None:
        """Hand everything captured so far to be written."""
        waiting = self._take()
        if waiting:
            self.submit(lambda: self._write(waiting))

    def _take(self) -> list[dict[str, Tensor]]:
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        return waiting

    def _write(self, waiting: list[dict[str, Tensor]]) -> None:
        if not waiting:
            return
        merged = {name: torch.cat([part[name] for part in waiting]) for name in self._columns}
        size = sum(t.numel() * t.element_size() for t in merged.values())
        written = write_dataset(merged, self.blobs, shard_bytes=2 * size)
        for shard in written.shards:
            self._shards.append(shard)
            self.on_shard(self.name, self._columns, shard)


def _summary(columns: Mapping[str, Column]) -> str:
    return ", ".join(f"{n} {c.dtype}{list(c.shape)}" for n, c in columns.items()) or "none"
