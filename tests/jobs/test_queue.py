"""Many at the same time: of all that want a job, an event or a delivery one gets it."""

import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

from service.call import Result
from service.jobs.job import QUEUED, RUNNING, SUCCEEDED, NewJob
from service.jobs.queue import DeliveryQueue
from service.jobs.store import JobStore
from tests.conftest import JOB_TTL_S

THREADS = 12
PROCESSES = 4
JOBS = 40
SOON_S = 60.0


def _together(act: Callable[[int], list[str]]) -> list[list[str]]:
    """What each of many threads that begin at the same moment brings home."""
    begun = threading.Barrier(THREADS, timeout=SOON_S)

    def run(number: int) -> list[str]:
        begun.wait()
        return act(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))


def _due(store: JobStore, event_id: str, due_s: float) -> str:
    return store.create(NewJob("/test", event_id, event=event_id.encode(), due_s=due_s))[0].id


def test_one_of_many_threads_creates_the_job_of_an_event(store: JobStore) -> None:
    found = _together(lambda _: [f"{job.id} {is_new}" for job, is_new in [store.create(NewJob("/test", "1"))]])
    named = Counter(each for (each,) in found)
    assert sorted(named.values()) == [1, THREADS - 1]
    assert len({each.split()[0] for each in named}) == 1


def test_one_of_many_threads_creates_the_job_of_a_key(store: JobStore) -> None:
    def create(number: int, key: str) -> str:
        return store.create(NewJob("/test", f"{number} with {key}", idempotency_key=key))[0].id

    found = _together(lambda number: [create(number, str(key)) for key in range(10)])
    assert len({tuple(ids) for ids in found}) == 1
    assert len(store.page(None, 100, None)) == 10


def test_each_job_is_claimed_by_one_of_many_threads(store: JobStore) -> None:
    ids = [store.create(NewJob("/test", str(number)))[0].id for number in range(JOBS)]
    claimed = _together(lambda number: [job_id for job_id in ids if store.claim(job_id, str(number), 60)])
    assert sorted(each for mine in claimed for each in mine) == sorted(ids)
    assert all(job.attempts == 1 for job in store.page(RUNNING, 100, None))


def test_a_lease_that_is_over_is_taken_by_one_of_many_threads(store: JobStore) -> None:
    ids = [store.create(NewJob("/test", str(number)))[0].id for number in range(JOBS)]
    assert all(store.claim(job_id, "dead", 0) for job_id in ids)
    claimed = _together(lambda number: [job_id for job_id in ids if store.claim(job_id, str(number), 60)])
    assert sorted(each for mine in claimed for each in mine) == sorted(ids)


def test_each_delivery_is_taken_by_one_of_many_threads(store: JobStore) -> None:
    ids = [_due(store, str(number), 1.0) for number in range(JOBS)]
    queue = DeliveryQueue(store.database)

    def act(_number: int) -> list[str]:
        mine = []
        while (due_s := queue.next_s()) is not None and due_s <= time.time():
            if taken := queue.take(time.time() + 60):
                mine.append(taken[0])
        return mine

    assert sorted(each for mine in _together(act) for each in mine) == sorted(ids)
    assert {job.deliveries for job in store.page(QUEUED, 100, None)} == {1}


def _compute_all(url: str) -> int:
    """In a process of its own: how many of the events this one computed."""
    store = JobStore(url, JOB_TTL_S)
    computed = 0
    for number in range(JOBS):
        job, _ = store.create(NewJob("/test", str(number)))
        if store.claim(job.id, multiprocessing.current_process().name, 60):
            computed += store.succeed(job.id, multiprocessing.current_process().name, Result(b"{}"))
    store.close()
    return computed


def test_many_processes_open_a_new_database_and_compute_each_event_once(database_url: str) -> None:
    """They create its tables at the same time, too."""
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        assert sum(pool.map(_compute_all, [database_url] * PROCESSES)) == JOBS
    store = JobStore(database_url, JOB_TTL_S)
    assert [job.attempts for job in store.page(SUCCEEDED, 100, None)] == [1] * JOBS
    store.close()


def test_what_is_due_first_is_delivered_first(store: JobStore) -> None:
    queue = DeliveryQueue(store.database)
    late, early = _due(store, "late", 20.0), _due(store, "early", 10.0)
    store.create(NewJob("/test", "of a broker", event=b"{}"))
    assert queue.next_s() == 10.0
    until_s = time.time() + 60
    assert queue.take(until_s) == (early, b"early", 0)
    assert queue.take(until_s) == (late, b"late", 0)
    assert queue.take(until_s) is None
    assert queue.next_s() == until_s


def test_what_is_not_due_is_not_delivered(store: JobStore) -> None:
    queue = DeliveryQueue(store.database)
    job_id = _due(store, "1", time.time() + 60)
    assert queue.take(0.0) is None
    assert queue.put_off(job_id, 5.0)
    assert queue.take(6.0) == (job_id, b"1", 0)
    assert queue.take(7.0) == (job_id, b"1", 1)


def test_what_is_computed_is_due_again_when_its_lease_is_over(store: JobStore) -> None:
    queue = DeliveryQueue(store.database)
    job_id = _due(store, "1", 1.0)
    before = time.time()
    assert store.claim(job_id, "owner", 60)
    due_s = queue.next_s()
    assert due_s is not None
    assert before + 60 <= due_s <= time.time() + 60
    assert not queue.put_off(job_id, 1.0)
    assert queue.take(0.0) is None
    # Released, it waits for the delivery to say when; if that has died, until then.
    assert store.release(job_id, "owner")
    assert queue.next_s() == due_s
    assert store.claim(job_id, "dead", 0)
    assert queue.take(0.0) == (job_id, b"1", 0)


def test_what_is_final_is_never_due(store: JobStore) -> None:
    queue = DeliveryQueue(store.database)
    cancelled, failed, succeeded = (_due(store, name, 1.0) for name in "abc")
    assert store.cancel(cancelled)
    assert store.fail(failed, 422, "why")
    assert store.claim(succeeded, "owner", 60)
    assert store.succeed(succeeded, "owner", Result(b"{}"))
    assert queue.next_s() is None
    assert queue.take(9.0) is None
    assert queue.release_all() == 0


def test_all_that_a_dead_process_left_is_due_at_once(store: JobStore) -> None:
    queue = DeliveryQueue(store.database)
    queued, taken, running = (
        _due(store, name, time.time() + delay) for name, delay in (("a", 60), ("b", -1), ("c", 0))
    )
    assert queue.take(time.time() + 60)
    assert store.claim(running, "dead", 60)
    kept, _ = store.create(NewJob("/test", "of a broker", event=b"{}"))
    assert store.claim(kept.id, "alive", 60)
    before = time.time()
    assert queue.release_all() == 3
    found = {queue.take(time.time() + 60), queue.take(time.time() + 60), queue.take(time.time() + 60)}
    assert found == {(queued, b"a", 0), (taken, b"b", 1), (running, b"c", 0)}
    assert not store.succeed(running, "dead", Result(b"{}"))
    assert store.succeed(kept.id, "alive", Result(b"{}"))
    assert (queue.next_s() or 0) >= before + 60
