"""Tells waiting callers that an audit has news; the news themselves are in the records."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """How far the group on the device is; in memory only."""

    kind: str
    lanes: int
    done: int
    total: int


@final
class Notices:
    """Callbacks by audit; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[str, set[Callable[[], None]]] = {}
        self._steps: dict[str, Step] = {}

    @contextmanager
    def listen(self, audit: str, callback: Callable[[], None]) -> Iterator[None]:
        """Call ``callback``, from any thread, whenever the audit has news inside the block."""
        with self._lock:
            self._listeners.setdefault(audit, set()).add(callback)
        try:
            yield
        finally:
            with self._lock:
                remaining = self._listeners[audit]
                remaining.discard(callback)
                if not remaining:
                    del self._listeners[audit]

    def publish(self, audits: Iterable[str]) -> None:
        """Say that these audits have news."""
        with self._lock:
            callbacks = [c for audit in audits for c in self._listeners.get(audit, ())]
        for callback in callbacks:
            callback()

    def set_step(self, audits: Iterable[str], step: Step | None) -> None:
        """Note what is on the device for these audits, None for nothing, and publish it."""
        audits = tuple(audits)
        with self._lock:
            for audit in audits:
                if step is None:
                    self._steps.pop(audit, None)
                else:
                    self._steps[audit] = step
        self.publish(audits)

    def step(self, audit: str) -> Step | None:
        """Return what is on the device for the audit."""
        with self._lock:
            return self._steps.get(audit)
