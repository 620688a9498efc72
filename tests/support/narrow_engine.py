"""The library on a device where two lanes fit and three do not."""

from collections.abc import Callable, Mapping, Sequence
from typing import final

from auditor.plan.actions import ActionKey, ActionSpec
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest
from service.executors.base import Engine, Outcome
from service.executors.engine import open_engine

NARROW = "tests.support.narrow_engine:open_narrow"
ROOM = 2


@final
class NarrowEngine:
    """Runs out of memory above :data:`ROOM` lanes, with the words of torch's allocator."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def execute(
        self,
        specs: Sequence[ActionSpec],
        *,
        results: Mapping[ActionKey, Digest],
        on_block: Callable[[int, int], None],
    ) -> Sequence[Outcome]:
        if len(specs) > ROOM:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return self._engine.execute(specs, results=results, on_block=on_block)


def open_narrow(blobs: BlobStore, *, device: str, threads: int) -> NarrowEngine:
    return NarrowEngine(open_engine(blobs, device=device, threads=threads))
