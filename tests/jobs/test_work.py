"""An event is computed once, however often and wherever it is delivered."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from service.call import Result
from service.errors import (
    Cancelled,
    Conflict,
    ContentTooLarge,
    DeadlineExceeded,
    EngineError,
    KindlingError,
    NotReady,
    QueueFull,
    Unprocessable,
)
from service.jobs.job import CANCELLED, FAILED, QUEUED, RUNNING, SUCCEEDED, Job, NewJob
from service.jobs.lease import Leases
from service.jobs.schema import jobs
from service.jobs.store import JobStore
from service.jobs.work import Work
from tests.conftest import JOB_TTL_S
from tests.support.eventually import eventually

DELIVERIES = 8
SOON_S = 30.0
MAX_RESULT_BYTES = 100
BUSY = "this request is being computed: ask again"


class Model:
    """Computes a different result every time; holds each computation until it is let go."""

    def __init__(self, *, held: bool = False) -> None:
        self.computed = 0
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()
        if not held:
            self.go.set()

    def compute(self) -> Result:
        self.computed += 1
        result = Result(str(self.computed).encode(), "text/plain", {"Number": str(self.computed)})
        self.begun.release()
        assert self.go.wait(SOON_S)
        return result

    def wait_until_begun(self) -> None:
        assert self.begun.acquire(timeout=SOON_S)


FIRST = Result(b"1", "text/plain", {"Number": "1"})


class Dead(Leases):
    """Of a pod that dies as soon as it has begun."""

    def __init__(self, store: JobStore) -> None:
        super().__init__(store, lease_s=0)

    def _renew(self) -> None:
        pass


def _work(store: JobStore, leases: type[Leases] = Leases) -> Work:
    return Work(store, leases(store), MAX_RESULT_BYTES)


def _fails(fault: BaseException) -> Callable[[], Result]:
    def compute() -> Result:
        raise fault

    return compute


def _job(store: JobStore) -> Job:
    job = store.find("/test", "1")
    assert job is not None
    return job


def _lease_end(store: JobStore, event_id: str = "1") -> float:
    with store.database.statement() as connection:
        query = sa.select(jobs.c.lease_until_s).where(jobs.c.event_id == event_id)
        return float(connection.execute(query).scalar_one())


@pytest.fixture
def pods(database_url: str) -> Iterator[list[Work]]:
    """Two of them, each with its own connections to the database."""
    stores = [JobStore(database_url, JOB_TTL_S) for _ in range(2)]
    yield [_work(each) for each in stores]
    for each in stores:
        each.close()


def test_an_event_delivered_later_again_is_answered_with_what_was_computed(pods: list[Work], store: JobStore) -> None:
    model = Model()
    answers = [pods[number % 2].once("/test", "1", model.compute) for number in range(6)]
    assert answers == [FIRST] * 6
    assert model.computed == 1
    assert (_job(store).status, _job(store).attempts) == (SUCCEEDED, 1)


def test_another_event_is_computed(store: JobStore) -> None:
    model, work = Model(), _work(store)
    for source, event_id in (("/test", "1"), ("/test", "2"), ("/other", "1")):
        work.once(source, event_id, model.compute)
    assert model.computed == 3


def test_of_deliveries_at_the_same_time_one_computes_and_the_others_are_told_to_come_again(
    pods: list[Work], store: JobStore
) -> None:
    model, together = Model(held=True), threading.Barrier(DELIVERIES, timeout=SOON_S)

    def deliver(number: int) -> Result | str:
        together.wait()
        try:
            return pods[number % 2].once("/test", "1", model.compute)
        except Conflict as fault:
            return f"{fault.status} {fault}"

    with ThreadPoolExecutor(DELIVERIES) as pool:
        deliveries = [pool.submit(deliver, number) for number in range(DELIVERIES)]
        model.wait_until_begun()
        assert _job(store).status == RUNNING
        eventually(lambda: sum(each.done() for each in deliveries) == DELIVERIES - 1, SOON_S)
        model.go.set()
        answers = [each.result() for each in deliveries]
    assert sorted(map(str, answers)) == sorted([str(FIRST), *[f"409 {BUSY}"] * (DELIVERIES - 1)])
    assert [pod.once("/test", "1", model.compute) for pod in pods] == [FIRST, FIRST]
    assert model.computed == 1


def test_a_pod_that_has_died_loses_its_lease_and_its_late_result_is_not_kept(store: JobStore) -> None:
    dead, late = Model(held=True), ThreadPoolExecutor(1)
    with late:
        answer = late.submit(_work(store, Dead).once, "/test", "1", dead.compute)
        dead.wait_until_begun()
        alive = Model()
        alive.computed = 6
        assert _work(store).once("/test", "1", alive.compute).body == b"7"
        dead.go.set()
        assert answer.result().body == b"7"
    assert _job(store).attempts == 2


def test_a_long_computation_keeps_its_lease_as_long_as_its_pod_lives(store: JobStore) -> None:
    model = Model(held=True)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(
            Work(store, Leases(store, lease_s=0.6), MAX_RESULT_BYTES).once, "/test", "1", model.compute
        )
        model.wait_until_begun()
        first = _lease_end(store)
        eventually(lambda: _lease_end(store) > first + 1.5, SOON_S)
        with pytest.raises(Conflict, match=BUSY):
            _work(store).once("/test", "1", Model().compute)
        model.go.set()
        assert answer.result() == FIRST
    assert _job(store).attempts == 1


def test_leases_of_others_are_not_renewed(store: JobStore) -> None:
    held, model = Leases(store, lease_s=0.03), Model()
    dead, _ = store.create(NewJob("/test", "dead"))
    assert store.claim(dead.id, "somebody/1/else/2", lease_s=0.0)
    end = _lease_end(store, "dead")
    with held.claim(lambda owner, lease_s: store.begin("/test", "1", owner, lease_s)) as claimed:
        first = _lease_end(store)
        eventually(lambda: _lease_end(store) > first, SOON_S)
    assert claimed
    assert _lease_end(store, "dead") == end
    assert _work(store).once("/test", "dead", model.compute) == FIRST


@pytest.mark.parametrize("code", [404, 429, 503])
def test_what_was_given_up_is_computed_when_it_comes_again(store: JobStore, code: int) -> None:
    job, _ = store.create(NewJob("/test", "1"))
    assert store.fail(job.id, code, "no pod could take it")
    assert _work(store).once("/test", "1", Model().compute) == FIRST
    assert (_job(store).status, _job(store).error, _job(store).error_code) == (SUCCEEDED, None, None)


def test_a_result_keeps_the_time_of_its_computation(store: JobStore) -> None:
    result = Result(b"1")
    assert _work(store).once("/test", "1", lambda: result).computed_s == result.computed_s
    store.sent(_job(store).id)
    assert _work(store).once("/test", "1", Model().compute).computed_s == result.computed_s


def test_a_late_fault_of_a_pod_that_has_died_changes_nothing(store: JobStore) -> None:
    begun, go = threading.Event(), threading.Event()

    def compute() -> Result:
        begun.set()
        assert go.wait(SOON_S)
        raise Unprocessable("late")

    with ThreadPoolExecutor(1) as late:
        answer = late.submit(_work(store, Dead).once, "/test", "1", compute)
        assert begun.wait(SOON_S)
        assert _work(store).once("/test", "1", Model().compute) == FIRST
        go.set()
        with pytest.raises(Unprocessable, match="late"):
            answer.result()
    assert _job(store).result == FIRST


def test_the_senders_fault_is_kept(store: JobStore) -> None:
    work, model = _work(store), Model()
    for compute in (_fails(Unprocessable("no picture")), model.compute):
        with pytest.raises(KindlingError, match="no picture") as fault:
            work.once("/test", "1", compute)
        assert fault.value.status == 422
    assert (model.computed, _job(store).status, _job(store).error_code) == (0, FAILED, 422)


@pytest.mark.parametrize(
    "fault", [QueueFull("full", 1), EngineError("x"), NotReady("x"), DeadlineExceeded("x"), OSError("x"), SystemExit()]
)
def test_any_other_fault_is_computed_again(store: JobStore, fault: BaseException) -> None:
    work, model = _work(store), Model()
    with pytest.raises(type(fault)):
        work.once("/test", "1", _fails(fault))
    assert (_job(store).status, _job(store).attempts) == (QUEUED, 1)
    assert work.once("/test", "1", model.compute) == FIRST


def test_a_result_over_its_limit_is_a_failure(store: JobStore) -> None:
    work, model = _work(store), Model()
    assert work.once("/test", "fits", lambda: Result(bytes(MAX_RESULT_BYTES))).body == bytes(MAX_RESULT_BYTES)
    told = f"the result has {MAX_RESULT_BYTES + 1} bytes, more than MAX_RESULT_BYTES"
    with pytest.raises(ContentTooLarge, match=told):
        work.once("/test", "1", lambda: Result(bytes(MAX_RESULT_BYTES + 1)))
    with pytest.raises(KindlingError, match=told) as fault:
        work.once("/test", "1", model.compute)
    assert (fault.value.status, model.computed) == (413, 0)


def test_what_was_cancelled_is_not_computed(store: JobStore) -> None:
    model = Model()
    job, _ = store.create(NewJob("/test", "1"))
    assert store.cancel(job.id)
    with pytest.raises(Cancelled, match="the job was cancelled"):
        _work(store).once("/test", "1", model.compute)
    assert (model.computed, _job(store).status) == (0, CANCELLED)


@pytest.mark.parametrize(("code", "status"), [(503, 503), (404, 404), (0, 500), (200, 500), (302, 500), (600, 500)])
def test_what_was_given_up_while_it_was_computed_has_failed(store: JobStore, code: int, status: int) -> None:
    def compute() -> Result:
        assert store.fail(_job(store).id, code, "given up")
        return FIRST

    for _ in range(2):
        with pytest.raises(KindlingError, match="given up") as fault:
            _work(store).once("/test", "1", compute)
        assert fault.value.status == status


def test_what_was_forgotten_while_it_was_computed_is_asked_for_again(store: JobStore) -> None:
    def compute() -> Result:
        job = _job(store)
        assert store.fail(job.id, 503, "given up")
        assert store.delete(job.id)
        return FIRST

    with pytest.raises(Conflict, match=BUSY):
        _work(store).once("/test", "1", compute)


def test_who_waits_is_told_of_every_end(store: JobStore) -> None:
    ended: list[str] = []
    work = Work(store, Leases(store), MAX_RESULT_BYTES, ended.append)
    work.once("/test", "1", Model().compute)
    work.once("/test", "1", Model().compute)
    with pytest.raises(Unprocessable):
        work.once("/test", "2", _fails(Unprocessable("x")))
    failed = store.find("/test", "2")
    assert failed is not None
    assert ended == [_job(store).id, failed.id]
