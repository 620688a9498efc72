"""The real engine, which stands still inside a trajectory as long as a file says so."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import final

from auditor.audit.execute import ActionResult, Worker
from auditor.audit.underway import SavedAction
from auditor.edge.folder import FolderBlobs
from auditor.plan.actions import ActionKey, ActionSpec, Advance
from auditor.stagelog.digest import Digest

HELD = "tests.support.held_engine:open_held"
HELD_STEPS = 32
"""Every lane has so many steps behind it where the engine stands still."""

_PAUSE_SECONDS = 0.005


def hold(data_dir: Path) -> Path:
    """Let workers over this data folder stand still until the returned file is gone."""
    data_dir.mkdir(parents=True, exist_ok=True)
    path = data_dir / "hold"
    path.touch()
    return path


@final
class HeldEngine:
    def __init__(self, blobs: FolderBlobs, *, device: str) -> None:
        self._worker = Worker(blobs, device=device)
        self._hold = blobs.root / "hold"

    def execute(
        self,
        specs: Sequence[ActionSpec],
        *,
        results: Mapping[ActionKey, Digest],
        on_block: Callable[[int, int], None],
    ) -> list[ActionResult]:
        def held(done: int, total: int) -> None:
            on_block(done, total)
            never = threading.Event()
            while (
                isinstance(specs[0], Advance)
                and HELD_STEPS * len(specs) <= done < total
                and self._hold.exists()
            ):
                never.wait(_PAUSE_SECONDS)
                on_block(done, total)

        return self._worker.execute(specs, results=results, on_block=held)

    def forget(self) -> None:
        self._worker.forget()

    def save(self) -> Iterator[SavedAction]:
        return self._worker.save()

    def resume(self, spec: ActionSpec, data: bytes | memoryview) -> int:
        return self._worker.resume(spec, data)


def open_held(blobs: FolderBlobs, *, device: str, threads: int) -> HeldEngine:
    assert threads == 1
    return HeldEngine(blobs, device=device)
