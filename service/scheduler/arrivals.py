"""Audits that are being planned and stored: groups wait a moment for their actions."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import final


@final
class Arrivals:
    """Counts the audits between their arrival and the moment they are stored; thread-safe."""

    def __init__(self) -> None:
        self._on_last: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._count = 0

    def on_last(self, callback: Callable[[], None]) -> None:
        """Call this, from the thread of the last, when none is left."""
        self._on_last = callback

    @property
    def expected(self) -> bool:
        """Whether an audit is on its way."""
        with self._lock:
            return self._count > 0

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """An audit is on its way as long as this block runs."""
        with self._lock:
            self._count += 1
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
                last = self._count == 0
            if last:
                self._on_last()
