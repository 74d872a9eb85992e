"""The embedded delivery when processes end and databases go away."""

import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from service.errors import NotReady
from service.jobs import delivery
from service.jobs.job import FAILED, QUEUED
from service.jobs.queue import DeliveryQueue
from service.jobs.store import JobStore
from tests.conftest import JOB_TTL_S
from tests.support import postgresql as postgres
from tests.support.broker import Received, Reply, listening
from tests.support.delivering import ERROR, SOON_S, delivering, due_job, job_of, wait_for
from tests.support.eventually import eventually
from tests.support.postgresql import PostgreSQL


def test_who_stops_begins_nothing_and_ends_what_is_on_its_way(store: JobStore) -> None:
    let_go = threading.Event()

    def hold(_: Received) -> Reply:
        assert let_go.wait(SOON_S)
        return Reply(422, body=ERROR)

    ids = [due_job(store, str(number)) for number in range(5)]
    with listening(answer=hold) as broker:
        with delivering(store, broker.url) as embedded:
            wait_for(broker, 2)
            embedded.stop()
            let_go.set()
        assert len(broker.received) == 2
        found = Counter(job_of(store, job_id).status for job_id in ids)
        assert found == {FAILED: 2, QUEUED: 3}
        with delivering(store, broker.url):
            wait_for(broker, 5)


def test_of_two_processes_with_one_file_one_delivers_and_the_other_takes_over(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    stores = [JobStore(url, JOB_TTL_S) for _ in range(2)]
    let_go = threading.Event()

    def hold(_: Received) -> Reply:
        assert let_go.wait(SOON_S)
        return Reply()

    with (
        listening(answer=hold) as first,
        listening() as second,
        delivering(stores[0], first.url, parallel=1) as leading,
    ):
        due_job(stores[0], "1")
        wait_for(first, 1)
        with delivering(stores[1], second.url) as waiting:
            due_job(stores[1], "2")
            leading.stop()
            # What is on its way is not left behind: nobody else may take it yet.
            assert not waiting._take_over()
            assert second.received == []
            let_go.set()
            leading.join()
            wait_for(second, 2)
    assert [each.event_id for each in first.received] == ["1"]
    for each in stores:
        each.close()


def test_all_processes_with_one_postgresql_deliver_and_each_job_once(postgresql: PostgreSQL) -> None:
    url = postgresql.database()
    stores = [JobStore(url, JOB_TTL_S) for _ in range(2)]
    together = threading.Barrier(2, timeout=SOON_S)

    def meet(_: Received) -> Reply:
        together.wait()
        return Reply()

    with (
        listening(answer=meet) as first,
        listening(answer=meet) as second,
        delivering(stores[0], first.url, parallel=1),
        delivering(stores[1], second.url, parallel=1),
    ):
        for number in range(10):
            due_job(stores[0], str(number))
        wait_for(first, 5)
        wait_for(second, 5)
    delivered = Counter(each.event_id for each in (*first.received, *second.received))
    assert delivered == {str(number): 1 for number in range(10)}
    for each in stores:
        each.close()


def test_what_a_dead_process_had_on_its_way_is_delivered_at_once(tmp_path: Path) -> None:
    store = JobStore(f"sqlite:///{tmp_path}/jobs.sqlite", JOB_TTL_S)
    taken, running = due_job(store, "taken"), due_job(store, "running")
    queue = DeliveryQueue(store.database)
    assert {queue.take(time.time() + 3600)[0], queue.take(time.time() + 3600)[0]} == {taken, running}  # type: ignore[index]
    assert store.claim(running, "dead", 3600)
    with listening() as broker, delivering(store, broker.url):
        wait_for(broker, 2)
    assert {each.event_id for each in broker.received} == {"taken", "running"}
    store.close()


def test_a_job_that_ends_every_process_is_given_up(tmp_path: Path) -> None:
    store = JobStore(f"sqlite:///{tmp_path}/jobs.sqlite", JOB_TTL_S)
    job_id = due_job(store)
    queue = DeliveryQueue(store.database)
    for _ in range(delivery.RETRIES + 1):
        assert queue.take(time.time())
    with listening() as broker, delivering(store, broker.url):
        eventually(lambda: job_of(store, job_id).status == FAILED, SOON_S)
    job = job_of(store, job_id)
    assert (job.error_code, job.error) == (503, "the process ended (delivered 12 times)")
    assert broker.received == []
    store.close()


def test_delivery_goes_on_when_the_database_is_back(postgresql_binaries: Path) -> None:
    with postgres.running(postgresql_binaries) as server, listening(Reply(500)) as broker:
        store = JobStore(server.database(), JOB_TTL_S)
        with delivering(store, broker.url):
            due_job(store, "before")
            wait_for(broker, 1)
            server.stop()
            with pytest.raises(NotReady):
                due_job(store, "lost")
            server.start()
            due_job(store, "after")
            eventually(lambda: {each.event_id for each in broker.received} == {"before", "after"}, SOON_S)
        store.close()
