"""Waiting: for a job to change, by some of the threads, so that the others can bring that about."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

from service.jobs.job import Job

# How often the database is asked about a job that somebody waits for: soon at first, then less and less.
POLL_S = 0.02
MAX_POLL_S = 0.5


class Waiting:
    """Called by any number of threads.

    Args:
        most: that many threads may wait at the same time.
    """

    def __init__(self, most: int) -> None:
        self._places = threading.BoundedSemaphore(most)
        self._over = False
        # Set when the job of that id has been run by this process, for who then need not wait to ask the database.
        self._ended: WeakValueDictionary[str, threading.Event] = WeakValueDictionary()

    @property
    def is_over(self) -> bool:
        """Whether nobody may wait any more."""
        return self._over

    @contextmanager
    def place(self) -> Iterator[bool]:
        """Whether this thread may wait."""
        is_mine = self._places.acquire(blocking=False)
        try:
            yield is_mine and not self._over
        finally:
            if is_mine:
                self._places.release()

    def wait(self, read: Callable[[], Job], wait_s: float, unlike: str | None = None) -> Job:
        """The job once it is final or its status is not `unlike`; as it is after `wait_s`, or when this is over."""

        def is_enough() -> bool:
            return job.is_final or (unlike is not None and job.status != unlike)

        end, poll_s = time.monotonic() + wait_s, POLL_S
        job = read()
        ended = self._ended.setdefault(job.id, threading.Event())
        while not is_enough() and time.monotonic() < end and not self._over:
            ended.wait(min(poll_s, max(0.0, end - time.monotonic())))
            ended.clear()
            poll_s = min(poll_s * 2, MAX_POLL_S)
            job = read()
        return job

    def note_end(self, job_id: str) -> None:
        """Wake who waits for that job."""
        if (ended := self._ended.get(job_id)) is not None:
            ended.set()

    def stop(self) -> None:
        """Let nobody wait any more; those who do have a look within MAX_POLL_S."""
        self._over = True
