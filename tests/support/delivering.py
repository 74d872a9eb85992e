"""The embedded delivery with jobs for it; a small real HTTP server is in the place of the service."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from service.events import codec
from service.jobs.delivery import Embedded
from service.jobs.job import Job, NewJob
from service.jobs.store import JobStore
from tests.support.broker import Broker
from tests.support.eventually import eventually

SOON_S = 30.0
DATA = bytes(range(256))
ERROR = b'{"error":"no picture"}'


def event(event_id: str = "1", **attributes: str) -> codec.Event:
    required = {"specversion": "1.0", "id": event_id, "source": "/test", "type": codec.REQUESTED}
    return codec.Event({**required, "datacontenttype": "image/png", **attributes}, DATA)


@contextmanager
def delivering(store: JobStore, url: str, parallel: int = 2) -> Iterator[Embedded]:
    embedded = Embedded(store, url, parallel, SOON_S)
    try:
        yield embedded
    finally:
        embedded.stop()
        embedded.join()


def due_job(store: JobStore, event_id: str = "1") -> str:
    encoded = codec.to_json(event(event_id))
    return store.create(NewJob("/test", event_id, event=encoded, due_s=time.time()))[0].id


def job_of(store: JobStore, job_id: str) -> Job:
    job = store.get(job_id)
    assert job is not None
    return job


def wait_for(broker: Broker, count: int) -> None:
    eventually(lambda: len(broker.received) >= count, SOON_S, f"{count} deliveries, of which {len(broker.received)}")
