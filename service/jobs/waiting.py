"""Waiting: some of the threads may wait for a job to change; one thread asks the database for all of them.

a request that waits ──┐
a stream of events   ──┼── wait ──► [ what the watcher has seen ] ◄── one statement for all jobs, now and then
another one          ──┘                         ▲
                                                 └── note_end: a job was run by this process
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from service.errors import NotReady

logger = logging.getLogger("kindling")

# How often the database is asked: soon at first, then less and less often, until another request begins to wait.
POLL_S = 0.02
MAX_POLL_S = 0.5


class Waiting:
    """Called by any number of threads.

    Args:
        statuses: returns the status of each of these jobs that still exists.
        most: how many threads may wait at the same time, so that the others can do the work that is waited for.
        most_streams: how many streams of events may be open at the same time.
    """

    def __init__(self, statuses: Callable[[Collection[str]], Mapping[str, str]], most: int, most_streams: int) -> None:
        self._statuses = statuses
        self._places = threading.BoundedSemaphore(most)
        self._stream_places = threading.BoundedSemaphore(most_streams)
        self._changed = threading.Condition()
        self._watched: Counter[str] = Counter()
        self._seen: dict[str, str | None] = {}  # None: there is no such job, or the database cannot be asked
        self._look_now = threading.Event()
        self._over = False
        self._watcher = threading.Thread(target=self._watch, name="watcher", daemon=True)

    @property
    def is_over(self) -> bool:
        """Whether nobody may wait any more."""
        return self._over

    def place(self) -> AbstractContextManager[bool]:
        """`with waiting.place() as may_wait`: whether this thread may wait."""
        return self._place(self._places)

    def stream_place(self) -> AbstractContextManager[bool]:
        """The same for a stream of events."""
        return self._place(self._stream_places)

    def wait(self, job_id: str, status: str, wait_s: float) -> None:
        """Return when the job no longer has that status, after `wait_s`, or when this is over."""

        def is_enough() -> bool:
            return self._over or self._seen.get(job_id, status) != status

        with self._changed:
            self._watched[job_id] += 1
            # The watcher may have seen this before our caller read the status, so it may be older.
            self._seen.pop(job_id, None)
            if self._watcher.ident is None:
                self._watcher.start()
            self._look_now.set()
            self._changed.wait_for(is_enough, wait_s)
            self._watched[job_id] -= 1
            self._watched += Counter()  # drops the jobs that nobody waits for

    def note_end(self, job_id: str) -> None:
        """Let the watcher look at this job at once, if a thread waits for it."""
        if job_id in self._watched:
            self._look_now.set()

    def stop(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._look_now.set()

    @contextmanager
    def _place(self, places: threading.BoundedSemaphore) -> Iterator[bool]:
        is_mine = places.acquire(blocking=False)
        try:
            yield is_mine and not self._over
        finally:
            if is_mine:
                places.release()

    def _watch(self) -> None:
        poll_s = POLL_S
        while not self._over:
            poll_s = POLL_S if self._look_now.wait(poll_s) else min(poll_s * 2, MAX_POLL_S)
            self._look_now.clear()
            with self._changed:
                ids = list(self._watched)
            if ids:
                self._look(ids)
            else:
                self._look_now.wait()

    def _look(self, ids: list[str]) -> None:
        found: Mapping[str, str] = {}
        try:
            found = self._statuses(ids)
        except NotReady:  # the waiting threads then ask the database themselves, and answer with its fault
            pass
        except Exception:
            logger.exception("watcher")
        with self._changed:
            self._seen = {each: found.get(each) for each in ids}
            self._changed.notify_all()
