"""Waiting for a moment that the key ``q`` cuts short, where there is a keyboard."""

import os
import select
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto

_QUIT = b"qQ"


class Waited(Enum):
    """How a wait ended."""

    TIME = auto()
    QUIT = auto()


Wait = Callable[[float], Waited]
"""Waits for so many seconds at most."""


@contextmanager
def key_presses() -> Iterator[Wait]:
    """Read single keys, without echo, inside the block; the terminal is then as it was before.

    Yields:
        A function that waits for so many seconds, or until ``q`` is pressed. Without a terminal it
        only waits.
    """
    if not sys.stdin.isatty():
        never = threading.Event()

        def wait_only(seconds: float) -> Waited:
            never.wait(seconds)
            return Waited.TIME

        yield wait_only
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def wait(seconds: float) -> Waited:
        readable, _, _ = select.select([descriptor], [], [], seconds)
        if not readable:
            return Waited.TIME
        pressed = os.read(descriptor, 64)
        # Nothing at all is a terminal that was closed. Any other key only refreshes.
        return Waited.QUIT if not pressed or any(key in _QUIT for key in pressed) else Waited.TIME

    try:
        tty.setcbreak(descriptor)  # Ctrl-C goes on being a signal
        yield wait
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
