"""Datasets of a run: written when declared, or captured tensor by tensor while a stage trains."""

from collections.abc import Mapping
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


@final
@dataclass(kw_only=True)
class Capture:
    """Tensors that the model saw, collected as a dataset of their own.

    Attributes:
        name: Name of the dataset.
        blobs: Where shards go.
        shard_bytes: A shard is written when this much has been collected.
    """

    name: str
    blobs: BlobStore
    shard_bytes: int = SHARD_BYTES
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
            self._flush()
        begin, self.examples = self.examples, self.examples + count
        return range(begin, begin + count)

    def finish(self) -> Dataset:
        """Return the manifest entry of everything captured."""
        self._flush()
        return Dataset(examples=self.examples, columns=self._columns, shards=tuple(self._shards))

    def _flush(self) -> None:
        if self._waiting:
            merged = {name: torch.cat([w[name] for w in self._waiting]) for name in self._columns}
            written = write_dataset(merged, self.blobs, shard_bytes=2 * self._waiting_bytes)
            self._shards += written.shards
            self._waiting, self._waiting_bytes = [], 0


def _summary(columns: Mapping[str, Column]) -> str:
    return ", ".join(f"{n} {c.dtype}{list(c.shape)}" for n, c in columns.items()) or "none"
