"""Connections: limits how many are in use at the same time, and lowers the limit while the server has no more."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from service.errors import NotReady

logger = logging.getLogger("kindling")

# How long a statement waits for a connection: as long as for a server that does not answer, and well under
# REQUEST_TIMEOUT_MS, because a waiting thread answers nobody.
WAIT_S = 5.0
# How long a server without a free connection is left alone: each try costs it a process.
AGAIN_S = 0.2
# The words in which PostgreSQL (postmaster.c, postinit.c) and PgBouncer (client.c) refuse: libpq gives no code for a failed
# connection. A server with messages in another language counts as one that is away: 503 without the wait.
_FULL = ("too many", "connection slots", "no more connections")


class Connections:
    """Called by any number of threads. None may take a second connection while it has one.

    Args:
        most: how many may be in use at the same time; the pool behind must have room for them.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._used = 0
        # As many as the server gave us; every AGAIN_S one more is tried.
        self._limit = most
        self._again_s = 0.0
        self._changed = threading.Condition()

    @contextmanager
    def one(self, connect: Callable[[], Connection]) -> Iterator[Connection]:
        """The result of `connect`, called as soon as there is a place.

        Raises:
            NotReady: all were in use for WAIT_S.
            sqlalchemy.exc.OperationalError: from `connect`; after WAIT_S if the server has no free connection.
        """
        connection = self._open(connect, time.monotonic() + WAIT_S)
        try:
            with connection:
                yield connection
        finally:
            self._leave()

    def _open(self, connect: Callable[[], Connection], end_s: float) -> Connection:
        refusal: sa.exc.OperationalError | None = None
        while True:
            if not self._enter(end_s):
                if refusal is not None:
                    raise refusal
                logger.error("none of the %d connections to the job store was free for %.0f s", self._most, WAIT_S)
                raise NotReady("the job store has no free connection: try again")
            try:
                return connect()
            except sa.exc.OperationalError as fault:
                if not self._make_do(fault):
                    raise
                refusal = fault
            except BaseException:
                self._leave()
                raise

    def _enter(self, end_s: float) -> bool:
        """Take a place; False if there was none in time."""
        with self._changed:
            while not self._has_room():
                left_s = end_s - time.monotonic()
                if left_s <= 0:
                    return False
                # While the limit is low, nothing wakes the threads that wait for it to grow.
                self._changed.wait(left_s if self._limit == self._most else min(left_s, AGAIN_S))
            self._used += 1
            return True

    def _has_room(self) -> bool:
        now = time.monotonic()
        if self._limit < self._most and now >= self._again_s:
            self._limit += 1
            self._again_s = now + AGAIN_S
        return self._used < self._limit

    def _leave(self) -> None:
        with self._changed:
            self._used -= 1
            self._changed.notify()

    def _make_do(self, fault: sa.exc.OperationalError) -> bool:
        """Give the place back, and lower the limit to the connections in use; whether waiting may help."""
        with self._changed:
            self._used -= 1
            if self._used == 0 and not any(words in str(fault.orig) for words in _FULL):
                # The server is away: all threads find that out at once, because a waiting thread answers nobody.
                self._limit = self._most
                self._changed.notify_all()
                return False
            self._limit = self._used
            self._again_s = time.monotonic() + AGAIN_S
            return True
