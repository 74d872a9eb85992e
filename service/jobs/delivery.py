"""Where request events go: to a broker (K_SINK), or, by the rules of one, to this process itself or a worker."""

import fcntl
import json
import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

from service.errors import NotReady
from service.events import codec
from service.events.post import Answer, post
from service.jobs.queue import DeliveryQueue
from service.jobs.store import JobStore

logger = logging.getLogger("kindling")

# As Knative Eventing delivers: up to 10 retries, after 0.2, 0.4, 0.8, ... s.
RETRIES = 10
BACKOFF_S = 0.2
PUBLISH_TRIES = 3
# The longest sleep of the embedded delivery; then it looks for what other processes have stored.
IDLE_S = 1.0
# Added to the time that an answer may take: after both, a job that is being delivered is due again.
MARGIN_S = 5.0


class Sink:
    """Publishes to the broker that K_SINK names, with the attributes that K_CE_OVERRIDES adds."""

    def __init__(self, url: str, overrides: str, timeout_s: float) -> None:
        self._url = url
        self._extensions: dict[str, str] = (json.loads(overrides) if overrides else {}).get("extensions", {})
        self._timeout_s = timeout_s

    def publish(self, event: codec.Event) -> None:
        """Return once the broker has it.

        Raises:
            NotReady: the broker does not take it.
        """
        sent = codec.Event({**event.attributes, **self._extensions}, event.data)
        end = time.monotonic() + self._timeout_s
        for attempt in range(PUBLISH_TRIES):
            answer = post(self._url, sent, end - time.monotonic())
            if answer.is_taken:
                return
            pause_s = _pause_s(attempt, answer)
            if answer.is_final or attempt + 1 == PUBLISH_TRIES or time.monotonic() + pause_s >= end:
                break
            time.sleep(pause_s)
        logger.error("the broker does not take an event: %s %s", answer.status or "", answer.said)
        raise NotReady("the broker does not take the request: try again")

    def stop(self) -> None:
        """Nothing is kept open."""


class Nobody:
    """No delivery at all, for a process that stands still between requests and has no broker."""

    def publish(self, event: codec.Event) -> None:  # noqa: ARG002 - whatever it is
        """Raises NotReady."""
        raise NotReady("nobody delivers jobs here: set K_SINK")

    def stop(self) -> None:
        """Nothing is kept open."""


class Embedded:
    """Delivers what is due in the store to `url`, this service's own address or a worker's, as real requests.

    Of the processes that share a database in a file, one delivers; when it ends, another one continues its work.
    Processes that share PostgreSQL all deliver; if one of them dies, its deliveries are due again after their time.

    Args:
        parallel: deliveries at the same time.
        timeout_s: for one delivery.
        credentials: headers by which the receiver knows this process.

    Raises:
        OSError: there can be no lock beside the database's file.
    """

    def __init__(
        self,
        store: JobStore,
        url: str,
        parallel: int,
        timeout_s: float,
        credentials: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._store = store
        self._queue = DeliveryQueue(store.database)
        self._url = url
        self._timeout_s = timeout_s
        self._credentials = credentials
        file = store.database.file
        self._lock = None if file is None else Path(f"{file}-delivery").open("w")  # noqa: SIM115 - until the thread ends
        self._free = threading.BoundedSemaphore(parallel)
        self._pool = ThreadPoolExecutor(parallel, "delivery")
        self._changed = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)
        self._thread.start()

    def publish(self, event: codec.Event) -> None:  # noqa: ARG002 - it is in the store
        """Look at the store now."""
        self._changed.set()

    def stop(self) -> None:
        """Begin no more deliveries; those that have begun go on."""
        self._closed = True
        self._changed.set()

    def join(self) -> None:
        """After `stop`: return when all deliveries have ended."""
        self._thread.join()

    def _run(self) -> None:
        may_deliver = self._lock is None
        while not self._closed:
            try:
                if may_deliver:
                    self._deliver_next()
                else:
                    may_deliver = self._take_over()
            except NotReady:  # the store has told why
                self._changed.wait(IDLE_S)
            except Exception:
                logger.exception("delivery")
                self._changed.wait(IDLE_S)
        # Hold the lock until every delivery has ended: its next owner delivers every job that is not final.
        self._pool.shutdown()
        if self._lock is not None:
            self._lock.close()

    def _take_over(self) -> bool:
        """Whether this process delivers from now on."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # type: ignore[arg-type]
        except BlockingIOError:
            self._changed.wait(IDLE_S)
            self._changed.clear()
            return False
        if count := self._queue.release_all():
            logger.info("%d unfinished jobs of an earlier process go on", count)
        return True

    def _deliver_next(self) -> None:
        """Begin to deliver one job, or wait until there may be one."""
        self._changed.clear()
        self._free.acquire()
        taken = None
        try:
            if not self._closed:
                taken = self._queue.take(until_s=time.time() + self._timeout_s + MARGIN_S)
        finally:
            if taken is None:
                self._free.release()
        if taken is not None:
            self._pool.submit(self._send, *taken)
            return
        due_s = self._queue.next_s()
        self._changed.wait(IDLE_S if due_s is None else min(IDLE_S, max(0.001, due_s - time.time())))

    def _send(self, job_id: str, encoded: bytes, before: int) -> None:
        """One delivery, and what follows from its answer."""
        try:
            # More deliveries were begun than there are tries, because processes died during them.
            answer = Answer(0, "the process ended") if before > RETRIES else self._post(encoded)
            if answer.is_taken:
                return
            if answer.is_final:
                self._store.fail(job_id, answer.status, answer.said)
            elif before >= RETRIES:
                self._store.fail(job_id, answer.status or 503, f"{answer.said} (delivered {before + 1} times)")
            else:
                self._queue.put_off(job_id, time.time() + _pause_s(before, answer))
        except NotReady:  # the store has told why; the job is due again in a while
            pass
        except Exception:
            logger.exception("delivery of job %s", job_id)
        finally:
            self._free.release()
            self._changed.set()

    def _post(self, encoded: bytes) -> Answer:
        return post(self._url, codec.from_json(encoded), self._timeout_s, self._credentials)


def _pause_s(before: int, answer: Answer) -> float:
    """How long to wait after this answer, when there were `before` deliveries before it."""
    return max(BACKOFF_S * float(2**before), answer.retry_after_s)
