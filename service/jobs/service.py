"""Jobs: what the routes call. The database and what it needs are imported and opened at the first use."""

import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from service import call as calls
from service import events, jobs
from service.call import Call, Result
from service.errors import Conflict, NotFound, NotReady, Unprocessable
from service.jobs.job import FAILED, QUEUED, Asked, Job, NewJob, fingerprint
from service.jobs.waiting import Waiting
from service.runtime.runtime import Runtime
from service.settings import Settings
from service.telemetry import Timing

if TYPE_CHECKING:
    from service.events.codec import Event
    from service.jobs.opening import Opened
    from service.jobs.store import JobStore

logger = logging.getLogger("kindling")

# How long to wait before the next try to open a database that could not be opened.
REOPEN_S = 5.0
# If a broker's job was not run for this long, it is published again when a client asks or waits for it.
LOST_S = 30.0
# How often a waiting thread reads its job even without news, and a stream without news sends a comment.
LOOK_S = 10.0


class Jobs:
    """Called by any number of threads. Without a DATABASE_URL there are no jobs, and events are not remembered.

    Args:
        credentials: headers of the requests by which this process delivers jobs to itself.
    """

    def __init__(self, runtime: Runtime, settings: Settings, credentials: Mapping[str, str]) -> None:
        self._runtime = runtime
        self._settings = settings
        self._credentials = credentials
        self._opening = threading.Lock()
        self._opened: Opened | None = None
        self._reopen_s = 0.0
        self._stopping = threading.Event()
        # Half of the threads may wait and a quarter may follow; the others do the work that is waited for.
        most, streams = settings.request_threads // 2, min(settings.max_job_streams, settings.request_threads // 4)
        self._waiting = Waiting(self._statuses, most, streams)

    @property
    def are_kept(self) -> bool:
        """Whether there is a database."""
        return self._settings.database_url is not None

    @property
    def are_delivered(self) -> bool:
        """Whether a broker or this process delivers them."""
        return bool(self._settings.k_sink) or self._settings.embedded_delivery

    @property
    def store(self) -> "JobStore":
        """The store. Raises NotReady when it cannot be opened."""
        return self._open().store

    def resume(self) -> None:
        """Once the model is ready, deliver in the background what an earlier process left; a broker does so by itself."""
        if self.are_kept and self._settings.embedded_delivery and not self._settings.k_sink:
            threading.Thread(target=self._resume, name="resume", daemon=True).start()

    def submit(self, call: Call, content_type: str, asked: Asked) -> Job:
        """The job of `call`, handed to the delivery. The same key gives the same job.

        Raises:
            Unprocessable: the key was used for another request.
            NotReady: the broker does not take it; then there is no job.
        """
        event_id = uuid.uuid4().hex
        event = events.codec.request_of(call, event_id, self._runtime.artifact.name, content_type, asked.trace)
        if asked.caller is not None:
            event = replace(event, attributes={**event.attributes, events.codec.MADE_BY: asked.caller})
        new = NewJob(
            event.source,
            event_id,
            event_id,
            events.codec.to_json(event),
            fingerprint(call),
            asked.key,
            self._due_s(),
            asked.caller,
        )
        # Store first, then publish: however fast the broker delivers, the event finds its job.
        job, is_new = self._create(new)
        if not is_new:
            # The first request with this key may have been answered at once, without an event to deliver.
            event = replace(event, attributes={**event.attributes, "source": job.source, "id": job.event_id})
            self.store.keep_event(job.id, events.codec.to_json(event), self._due_s())
        # Perhaps never sent: the process that stored it may have died before. A second copy does no harm.
        if is_new or (job.status == QUEUED and job.deliveries == 0):
            try:
                self._send(job.id, event)
            except NotReady:
                # The client gets an error and asks again; it must not find a job that nobody delivers.
                self.store.discard(job.id)
                raise
        return job

    def compute(self, call: Call, asked: Asked, timing: Timing) -> Result:
        """The result of `call`, computed now unless there is a result under the same key."""
        new = NewJob(
            "idempotency-key", uuid.uuid4().hex,
            fingerprint=fingerprint(call), idempotency_key=asked.key, made_by=asked.caller,
        )  # fmt: skip
        job, _ = self._create(new)
        return self._open().work.run(job, lambda: self._answer(call, timing))

    def once(self, event: "Event", call: Callable[[], Call], timing: Timing, made_by: str | None) -> Result:
        """The result of an event; with a database, it is computed once, however often it is delivered."""
        if not self.are_kept:
            return self._answer(call(), timing)
        return self._open().work.once(event.source, event.id, lambda: self._answer(call(), timing), made_by)

    def get(self, job_id: str, viewer: str | None) -> Job:
        """The job as it is. If the broker may have lost its event, the event is published again.

        Raises:
            NotFound: there is no such job, it has expired, or `viewer` may not see it.
        """
        job = self._read(job_id, viewer)
        self._send_lost(job)
        return job

    def wait(self, job_id: str, wait_s: float, viewer: str | None) -> tuple[Job, bool]:
        """The job, once it is final or after `wait_s`; and whether waiting was possible: not when too many wait."""
        job, end = self.get(job_id, viewer), time.monotonic() + wait_s
        with self._waiting.place() as may_wait:
            while may_wait and self._goes_on(job, end):
                self._waiting.wait(job_id, job.status, min(LOOK_S, end - time.monotonic()))
                job = self.get(job_id, viewer)
        return job, may_wait

    def follow(self, job_id: str, wait_s: float, viewer: str | None) -> Iterator[Job | None]:
        """The job now and at each change of status, until it is final or deleted; None after LOOK_S without news.

        Ends after `wait_s`, or at once if too many streams are open.
        """
        job, end = self.get(job_id, viewer), time.monotonic() + wait_s
        yield job
        with self._waiting.stream_place() as may_wait:
            while may_wait and self._goes_on(job, end):
                before = job.status
                self._waiting.wait(job_id, before, min(LOOK_S, end - time.monotonic()))
                try:
                    job = self.get(job_id, viewer)
                except (NotFound, NotReady):  # the client comes again, and is told then
                    return
                yield None if job.status == before else job

    def send_again(self, job_id: str, viewer: str | None) -> Job:
        """Deliver a failed job again, as if it were new.

        Raises:
            Conflict: it has not failed, or its event is not stored.
            NotReady: the broker does not take it; the job stays as it was.
        """
        store, before = self.store, self._read(job_id, viewer)
        encoded = store.event(job_id)
        if encoded is None and before.status == FAILED:
            raise Conflict("this job cannot be sent again: its request is not kept")
        if encoded is None or not store.send_again(job_id, self._due_s()):
            raise Conflict("only a failed job whose request is kept can be sent again")
        try:
            self._send(job_id, events.codec.from_json(encoded))
        except NotReady:
            store.fail(job_id, before.error_code or NotReady.status, before.error or "")
            raise
        return self._read(job_id, viewer)

    def stop(self) -> None:
        """Deliver nothing more and let nobody wait: this process is ending. The next process does the rest."""
        self._stopping.set()
        self._waiting.stop()
        if self._opened is not None:
            self._opened.delivery.stop()

    def close(self) -> None:
        """Close the database and all that uses it. The next call opens it again, with a new owner for its leases."""
        with self._opening:
            opened, self._opened, self._reopen_s = self._opened, None, 0.0
        if opened is not None:
            opened.close()

    def _goes_on(self, job: Job, end: float) -> bool:
        return not (job.is_final or self._waiting.is_over) and time.monotonic() < end

    def _resume(self) -> None:
        try:
            self._runtime.wait_until_ready(timeout_s=None)
        except NotReady:
            return
        while not self._stopping.is_set():
            try:
                self._open()
            except NotReady:
                self._stopping.wait(REOPEN_S)
            else:
                return

    def _create(self, new: NewJob) -> tuple[Job, bool]:
        job, is_new = self.store.create(new)
        if job.fingerprint != new.fingerprint:
            raise Unprocessable("this Idempotency-Key was used for another request")
        return job, is_new

    def _send(self, job_id: str, event: "Event") -> None:
        opened = self._open()
        opened.delivery.publish(event)
        # The job may be gone: while the broker was slow, its client may have given up, and the job was discarded.
        if self._settings.k_sink and not opened.store.sent(job_id):
            raise NotReady("the job was given up in the meantime: try again")

    def _send_lost(self, job: Job) -> None:
        """Publish an event again that the broker may have lost, as a broker in memory does when it ends.

        If the event was not lost, it is still computed only once.
        """
        if job.is_final or not self._settings.k_sink or job.updated_s > time.time() - LOST_S:
            return
        if encoded := self.store.lost(job.id, LOST_S):
            logger.warning("job %s: nobody has run it for %.0f s, its event is published again", job.id, LOST_S)
            with suppress(NotReady):  # the log says why; the next request for it tries again
                self._open().delivery.publish(events.codec.from_json(encoded))

    def _due_s(self) -> float | None:
        return None if self._settings.k_sink else time.time()

    def _answer(self, call: Call, timing: Timing) -> Result:
        return calls.answer(call, self._runtime, self._settings, timing)

    def _statuses(self, ids: Collection[str]) -> Mapping[str, str]:
        return self.store.statuses(ids)

    def _read(self, job_id: str, viewer: str | None) -> Job:
        job = self.store.get(job_id, viewer) if re.fullmatch("[0-9a-f]{32}", job_id) else None
        if job is None:
            raise NotFound(f"no job {job_id[:64]!r}")
        return job

    def _open(self) -> "Opened":
        # One thread opens while the others wait; otherwise two deliveries would begin.
        with self._opening:
            if self._opened is None:
                # A try takes as long as the database keeps us waiting, so not every request makes one.
                if time.monotonic() < self._reopen_s:
                    raise NotReady("jobs cannot be kept now")
                self._opened = self._try_to_open()
                # stop() may have been called while we were opening, when there was nothing to stop yet.
                if self._stopping.is_set():
                    self._opened.delivery.stop()
            return self._opened

    def _try_to_open(self) -> "Opened":
        try:
            runners, ended = self._runtime.runners, self._waiting.note_end
            return jobs.opening.open_jobs(self._settings, runners, ended, self._credentials)
        except (jobs.schema.StoreError, OSError) as fault:
            self._reopen_s = time.monotonic() + REOPEN_S
            logger.error("jobs cannot be kept: %s", fault)  # noqa: TRY400 - one sentence is enough
            raise NotReady("jobs cannot be kept now") from None
