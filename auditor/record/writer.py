"""Write while the training goes on: one thread, and a queue that cannot grow."""

from collections.abc import Callable
from queue import Queue
from threading import Thread
from typing import final

Job = Callable[[], None]

WAITING_JOBS = 1
"""Jobs that may wait for the thread: each may hold a copy of the whole training state."""


@final
class BackgroundWriter:
    """Runs jobs one after the other in a thread of its own.

    At most one job runs and one waits; handing in a third one waits for the first, so that memory
    stays bounded by three jobs. After a failed job the others are dropped: what they would have
    written builds on it. The thread starts with the first job and ends with :meth:`close`.
    """

    def __init__(self) -> None:
        self._jobs: Queue[Job | None] = Queue(maxsize=WAITING_JOBS)
        self._thread: Thread | None = None
        self._failure: BaseException | None = None

    def submit(self, job: Job) -> None:
        """Hand in a job.

        Raises:
            Exception: What an earlier job raised.
        """
        self.require_sound()
        if self._thread is None:
            self._thread = Thread(target=self._work, name="stageaudit-writer", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def offer(self, job: Job) -> None:
        """Hand in a job that may as well be left out: it is, where handing it in would wait."""
        if self._failure is None and not self._jobs.full():
            self.submit(job)

    def drain(self) -> None:
        """Wait until every job is done.

        Raises:
            Exception: What a job raised.
        """
        self._jobs.join()
        self.require_sound()

    def require_sound(self) -> None:
        """Raise what a job raised, if any did."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Wait until every job is done and end the thread; harmless when repeated."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                if job is None:
                    return
                if self._failure is None:
                    job()
            except BaseException as error:  # noqa: BLE001 - handed to the thread that asked for it
                self._failure = error
            finally:
                self._jobs.task_done()
