"""The logs that a worker keeps loaded: as many as fit, with one store of graphs and traces."""

from collections import OrderedDict
from math import prod
from typing import final

from auditor.dynamics.prepared import Prepared
from auditor.dynamics.run import Run
from auditor.plan.footprint import ITEM_BYTES
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest
from auditor.stagelog.log import StageLog

DEFAULT_CAPACITY_BYTES = 2 * 2**30
"""Of loaded logs; the one that is asked for is loaded whatever its size."""

STATES = 3
"""Tensors of the size of the parameters in a boundary state: itself and what Adam remembers."""


@final
class LoadedRuns:
    """Runs by the digest of their log; the one used longest ago is dropped first.

    Args:
        blobs: Where logs are.
        device: Device of all tensors.
        capacity_bytes: How much the loaded logs may hold, as their manifests have it.
    """

    def __init__(
        self, blobs: BlobStore, *, device: str, capacity_bytes: int = DEFAULT_CAPACITY_BYTES
    ) -> None:
        self._blobs, self._device, self._capacity = blobs, device, capacity_bytes
        self._prepared = Prepared()
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._bytes: dict[str, int] = {}

    def __call__(self, log_digest: str) -> Run:
        """Return the run of a log, loaded now if it is not."""
        if log_digest not in self._runs:
            digest = Digest(log_digest)
            log = StageLog.model_validate_json(bytes(self._blobs.read(digest)))
            self._bytes[log_digest] = loaded_bytes(log)
            while self._runs and sum(self._bytes.values()) > self._capacity:
                oldest, _ = self._runs.popitem(last=False)
                del self._bytes[oldest]
            self._runs[log_digest] = Run(
                log, digest, self._blobs, device=self._device, prepared=self._prepared
            )
        self._runs.move_to_end(log_digest)
        return self._runs[log_digest]


def loaded_bytes(log: StageLog) -> int:
    """Return what a run holds at most: its data and every boundary state."""
    rows = sum(
        dataset.examples
        * sum(ITEM_BYTES[column.dtype] * prod(column.shape) for column in dataset.columns.values())
        for dataset in log.datasets.values()
    )
    state = sum(
        ITEM_BYTES.get(info.dtype, 1) * prod(info.shape)
        for info in log.parameters.values()
        if info.tied_to is None
    )
    return rows + STATES * state * (len(log.stages) + 1)
