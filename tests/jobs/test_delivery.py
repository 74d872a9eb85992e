"""By the rules of a broker to the service itself; a small real HTTP server is in its place."""

import threading
import time
from collections import Counter

import pytest

from service.events import codec
from service.events.post import MAX_RETRY_AFTER_S, Answer
from service.jobs import delivery
from service.jobs.job import FAILED, QUEUED
from service.jobs.queue import DeliveryQueue
from service.jobs.store import JobStore
from tests.support.broker import Received, Reply, listening
from tests.support.delivering import ERROR, SOON_S, delivering, due_job, event, job_of, wait_for
from tests.support.eventually import eventually
from tests.support.serving import HOST, free_port

# knative.dev/eventing, pkg/kncloudevents/retries.go
TRIED_AGAIN = (404, 408, 409, 429, 500, 502, 503, 504, 599)
FINAL = (301, 400, 401, 403, 405, 410, 413, 415, 422)


def test_pauses_are_those_of_a_broker() -> None:
    pauses = [delivery._pause_s(before, Answer(503)) for before in range(delivery.RETRIES)]
    assert pauses == [0.2 * 2**n for n in range(10)]
    assert delivery._pause_s(0, Answer(429, retry_after_s=7.0)) == 7.0
    assert delivery._pause_s(6, Answer(429, retry_after_s=7.0)) == 0.2 * 2**6


def test_a_job_is_delivered_as_the_event_that_it_was(store: JobStore) -> None:
    with listening() as broker, delivering(store, broker.url) as embedded:
        job_id = due_job(store)
        embedded.publish(event())
        wait_for(broker, 1)
    (got,) = broker.received
    assert codec.decode(got.headers, got.body) == (codec.BINARY, [event()])
    assert job_of(store, job_id).deliveries == 1


def test_what_another_process_stores_is_delivered_too(store: JobStore) -> None:
    with listening() as broker, delivering(store, broker.url):
        due_job(store)
        wait_for(broker, 1)


def test_answers_are_tried_again_or_final_as_a_broker_has_it(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "BACKOFF_S", 1e-3)
    ids = {status: due_job(store, str(status)) for status in (*TRIED_AGAIN, *FINAL)}
    seen: Counter[str] = Counter()

    def answer(received: Received) -> Reply:
        """The status that the event's id names, and from the third time on success."""
        seen[received.event_id] += 1
        return Reply(int(received.event_id), body=ERROR) if seen[received.event_id] < 3 else Reply()

    with listening(answer=answer) as broker, delivering(store, broker.url):
        wait_for(broker, 3 * len(TRIED_AGAIN) + len(FINAL))
    assert seen == {**{str(status): 3 for status in TRIED_AGAIN}, **{str(status): 1 for status in FINAL}}
    for status in TRIED_AGAIN:
        assert job_of(store, ids[status]).status == QUEUED
    for status in FINAL:
        job = job_of(store, ids[status])
        assert (job.status, job.error_code, job.error) == (FAILED, status, "no picture")


def test_a_dead_letter_is_a_failed_job(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "BACKOFF_S", 1e-4)
    with listening(answer=lambda _: Reply(503, body=b"later")) as broker, delivering(store, broker.url):
        job_id = due_job(store)
        eventually(lambda: job_of(store, job_id).status == FAILED, SOON_S)
    job = job_of(store, job_id)
    assert (job.error_code, job.error) == (503, "later (delivered 11 times)")
    assert (len(broker.received), job.deliveries) == (11, 11)


def test_a_service_that_never_answers_is_a_failed_job(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "BACKOFF_S", 1e-4)
    with delivering(store, f"http://{HOST}:{free_port()}/"):
        job_id = due_job(store)
        eventually(lambda: job_of(store, job_id).status == FAILED, SOON_S)
    job = job_of(store, job_id)
    assert job.error_code == 503
    assert job.error == "no answer ([Errno 111] Connection refused) (delivered 11 times)"


def test_an_answer_says_when_to_come_again_but_not_for_ever(store: JobStore) -> None:
    with listening(Reply(429, {"Retry-After": "999999999"})) as broker, delivering(store, broker.url):
        due_job(store)
        queue, before = DeliveryQueue(store.database), time.time()
        wait_for(broker, 1)
        eventually(lambda: (queue.next_s() or 0) > before + SOON_S + delivery.MARGIN_S + 1, SOON_S)
        assert (queue.next_s() or 0) <= time.time() + MAX_RETRY_AFTER_S


def test_so_many_are_on_their_way_at_the_same_time(store: JobStore) -> None:
    let_go = threading.Semaphore(0)

    def hold(_: Received) -> Reply:
        assert let_go.acquire(timeout=SOON_S)
        return Reply()

    with listening(answer=hold) as broker, delivering(store, broker.url, parallel=3):
        for number in range(8):
            due_job(store, str(number))
        for done in range(6):
            wait_for(broker, done + 3)
            assert len(broker.received) == done + 3
            let_go.release()
        wait_for(broker, 8)
        let_go.release(2)
    assert Counter(each.event_id for each in broker.received) == {str(number): 1 for number in range(8)}
