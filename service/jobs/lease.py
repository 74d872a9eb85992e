"""Leases: short ones, renewed while this process computes, so that another process soon takes over a dead one's jobs."""

import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from service.errors import NotReady
from service.jobs.store import JobStore

# How long after a pod's death another pod may take its jobs. The clocks of pods may differ by a part of this.
LEASE_S = 15.0
RENEWALS = 3


class Leases:
    """Called by any number of threads."""

    def __init__(self, store: JobStore, lease_s: float = LEASE_S) -> None:
        self._store = store
        self._lease_s = lease_s
        self._process = f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        self._held = 0
        self._over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._renew, name="leases", daemon=True)

    @contextmanager
    def claim(self, take: Callable[[str, float], str | None]) -> Iterator[tuple[str, str] | None]:
        """Owner and id of the job that `take` leases to an owner for a number of seconds; renewed inside the block."""
        owner = f"{self._process}/{uuid.uuid4().hex}"
        self._note(1)
        try:
            job_id = take(owner, self._lease_s)
            yield None if job_id is None else (owner, job_id)
        finally:
            self._note(-1)

    def stop(self) -> None:
        """Renew nothing more: a lease that is still held ends with its time."""
        with self._changed:
            self._over = True
            self._changed.notify()

    def _note(self, more: int) -> None:
        with self._changed:
            if self._thread.ident is None:
                self._thread.start()
            self._held += more
            self._changed.notify()

    def _renew(self) -> None:
        """Now and then one statement for all leases together, as long as there are any."""
        with self._changed:
            while not self._over:
                self._changed.wait_for(lambda: self._held or self._over)
                if not self._changed.wait_for(lambda: not self._held or self._over, self._lease_s / RENEWALS):
                    with suppress(NotReady):  # the store has logged why; the next renewal may succeed
                        self._store.renew(self._process, self._lease_s)
