"""The logs that a worker keeps loaded: as many as fit, with one store of graphs and traces."""

from collections import OrderedDict
from collections.abc import Hashable
from math import prod
from typing import final

from auditor.dynamics.held_bytes import stores_of
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


GROWTH = 2
"""A run alone may hold what its manifest says this often, whatever the capacity."""


@final
class _Loaded:
    """A run and what it holds: counted when it is asked for, each kept value once."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.expected_bytes = loaded_bytes(run.log)
        self._counted: set[Hashable] = set()
        self._stores: dict[int, int] = {}

    @property
    def held_bytes(self) -> int:
        """What it holds; at least what its manifest says, which it will once it is used."""
        for key in [key for key in self.run.kept if key not in self._counted]:
            self._stores |= stores_of(self.run.kept[key], passing_over=Run)
            self._counted.add(key)
        return max(self.expected_bytes, sum(self._stores.values()))


@final
class LoadedRuns:
    """Runs by the digest of their log; the one used longest ago is dropped first.

    Args:
        blobs: Where logs are.
        device: Device of all tensors.
        capacity_bytes: How much the loaded logs may hold.
    """

    def __init__(
        self, blobs: BlobStore, *, device: str, capacity_bytes: int = DEFAULT_CAPACITY_BYTES
    ) -> None:
        self._blobs, self._device, self._capacity = blobs, device, capacity_bytes
        self._prepared = Prepared()
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()

    def __call__(self, log_digest: str) -> Run:
        """Return the run of a log, loaded now if it is not."""
        if log_digest not in self._loaded:
            digest = Digest(log_digest)
            log = StageLog.model_validate_json(bytes(self._blobs.read(digest)))
            self._make_room(self._capacity - loaded_bytes(log), keeping=0)
            run = Run(log, digest, self._blobs, device=self._device, prepared=self._prepared)
            self._loaded[log_digest] = _Loaded(run)
        self._loaded.move_to_end(log_digest)
        return self._loaded[log_digest].run

    def trim(self) -> None:
        """Drop what does not fit any more; for moments in which nothing is computed.

        Runs grow: they keep every evaluation set that was asked about, pools of tables, factors of
        curvature. The one used last is dropped, too, where it has outgrown its manifest, and is
        loaded again when it is asked for.
        """
        for newest, own in reversed(self._loaded.items()):
            if own.held_bytes > max(self._capacity, GROWTH * own.expected_bytes):
                del self._loaded[newest]
            break
        self._make_room(self._capacity, keeping=1)

    def _make_room(self, left: int, *, keeping: int) -> None:
        """Drop the runs used longest ago until the others fit so many bytes, or are so few."""
        held = {digest: own.held_bytes for digest, own in self._loaded.items()}
        while len(held) > keeping and sum(held.values()) > left:
            oldest, _ = self._loaded.popitem(last=False)
            del held[oldest]


def loaded_bytes(log: StageLog) -> int:
    """Return what a run holds of its log when it is used: its data and every boundary state."""
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
