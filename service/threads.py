"""The bounded thread pool: the event loop never hashes, waits for a disk or asks the database."""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar, final

P = ParamSpec("P")
Result = TypeVar("Result")


@final
class Threads:
    """Runs blocking functions beside the event loop.

    Args:
        count: Most functions that run at once; the others wait.
    """

    def __init__(self, *, count: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=count, thread_name_prefix="front")

    async def run(self, function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        """Return what the function returns, called in a thread with the caller's context."""
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, lambda: context.run(function, *args, **kwargs)
        )

    def close(self) -> None:
        """Wait for the functions under way."""
        self._pool.shutdown(wait=True)
