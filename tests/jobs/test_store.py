"""Every change of a job, in SQLite and in a real PostgreSQL."""

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from service.call import Result
from service.jobs import store as stores
from service.jobs.job import CANCELLED, FAILED, FINAL, QUEUED, RUNNING, STATUSES, SUCCEEDED, Job, NewJob
from service.jobs.queue import DeliveryQueue
from service.jobs.store import JobStore
from tests.conftest import JOB_TTL_S

RESULT = Result(b'{"labels": []}', "application/json", {"Inference-Header-Content-Length": "14"})
ABSENT = "0" * 32


def _new(store: JobStore, event_id: str = "1", **values: str) -> Job:
    job, is_new = store.create(NewJob("/test", event_id, event=b"{}", **values))  # type: ignore[arg-type]
    assert is_new
    return job


def _in(store: JobStore, status: str) -> Job:
    """A new job of that status, whose lease, if it has one, is the owner's."""
    job = _new(store, status)
    steps: dict[str, Callable[[], bool]] = {
        QUEUED: lambda: True,
        RUNNING: lambda: True,
        SUCCEEDED: lambda: store.succeed(job.id, "owner", RESULT),
        FAILED: lambda: store.fail(job.id, 422, "why"),
        CANCELLED: lambda: store.cancel(job.id),
    }
    if status in (RUNNING, SUCCEEDED):
        assert store.claim(job.id, "owner", 60)
    assert steps[status]()
    return _got(store, job.id)


def _got(store: JobStore, job_id: str) -> Job:
    job = store.get(job_id)
    assert job is not None
    return job


def test_a_new_job_is_queued(store: JobStore) -> None:
    before = time.time()
    job = _new(store, "1", idempotency_key="key", fingerprint="f" * 64)
    assert before <= job.created_s == job.updated_s <= time.time()
    assert job.expires_s == pytest.approx(job.created_s + stores.UNFINISHED_S, abs=1)
    assert job == Job(
        job.id, "/test", "1", "f" * 64, QUEUED, 0, 0, job.created_s, job.updated_s, job.expires_s, None, None, None
    )
    assert store.get(job.id) == store.find("/test", "1") == job
    assert store.event(job.id) == b"{}"


def test_the_same_event_is_the_same_job(store: JobStore) -> None:
    job = _new(store)
    assert store.create(NewJob("/test", "1", fingerprint="other")) == (job, False)
    assert _new(store, "2").id != job.id
    assert store.create(NewJob("/other", "1"))[1]


def test_the_same_key_is_the_same_job(store: JobStore) -> None:
    job = _new(store, "1", idempotency_key="key")
    assert store.create(NewJob("/test", "2", idempotency_key="key")) == (job, False)
    assert store.find("/test", "2") is None
    assert _new(store, "3", idempotency_key="KEY").id != job.id


def test_what_is_not_there_is_none(store: JobStore) -> None:
    assert store.get(ABSENT) is None
    assert store.find("/test", "1") is None
    assert store.event(ABSENT) is None
    assert store.page(None, 10, None) == []
    assert not store.claim(ABSENT, "owner", 60)
    assert not store.delete(ABSENT)
    assert not store.sent(ABSENT)


CHANGES: dict[str, tuple[Callable[[JobStore, str], bool], set[str], str | None]] = {
    # name: the change, from which statuses it may start, to which it leads (None: the job is forgotten)
    "claim": (lambda store, job_id: store.claim(job_id, "other", 60), {QUEUED}, RUNNING),
    "succeed": (lambda store, job_id: store.succeed(job_id, "owner", RESULT), {RUNNING}, SUCCEEDED),
    "succeed, not its own": (lambda store, job_id: store.succeed(job_id, "other", RESULT), set(), None),
    "release": (lambda store, job_id: store.release(job_id, "owner"), {RUNNING}, QUEUED),
    "release, not its own": (lambda store, job_id: store.release(job_id, "other"), set(), None),
    "fail": (lambda store, job_id: store.fail(job_id, 500, "fault"), {QUEUED, RUNNING}, FAILED),
    "fail, its own": (lambda store, job_id: store.fail(job_id, 500, "fault", "owner"), {RUNNING}, FAILED),
    "fail, not its own": (lambda store, job_id: store.fail(job_id, 500, "fault", "other"), set(), None),
    "cancel": (lambda store, job_id: store.cancel(job_id), {QUEUED}, CANCELLED),
    "send again": (lambda store, job_id: store.send_again(job_id, None), {FAILED}, QUEUED),
    "discard": (lambda store, job_id: store.discard(job_id), {QUEUED}, None),
    "delete": (lambda store, job_id: store.delete(job_id), set(FINAL), None),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_starts_from_where_it_may_and_else_changes_nothing(store: JobStore, name: str) -> None:
    change, allowed, after = CHANGES[name]
    for status in STATUSES:
        job = _in(store, status)
        assert change(store, job.id) == (status in allowed), status
        found = store.get(job.id)
        if status not in allowed:
            assert found == job
        elif after is None:
            assert found is None
        else:
            assert found is not None
            assert found.status == after
            assert found.updated_s >= job.updated_s
            assert found.created_s == job.created_s
            kept_s = JOB_TTL_S if after in FINAL else stores.UNFINISHED_S
            assert found.expires_s == pytest.approx(found.updated_s + kept_s, abs=1)


def test_a_result_comes_back_as_it_was(store: JobStore) -> None:
    job = _in(store, SUCCEEDED)
    assert job.result == RESULT
    assert (job.attempts, job.error, job.error_code) == (1, None, None)
    large = Result(bytes(range(256)) * 4096, "application/octet-stream")
    other = _new(store, "large")
    assert store.claim(other.id, "owner", 60)
    assert store.succeed(other.id, "owner", large)
    assert _got(store, other.id).result == large


def test_a_failure_says_why_in_what_text_every_database_keeps(store: JobStore) -> None:
    job = _new(store)
    assert store.fail(job.id, 422, "a\0b ☃ " + "x" * 2000)
    found = _got(store, job.id)
    assert found.error == "ab ☃ " + "x" * (stores.MAX_ERROR_CHARS - 6)
    assert (found.status, found.error_code, found.result) == (FAILED, 422, None)


def test_a_job_sent_again_is_as_new(store: JobStore) -> None:
    job = _in(store, FAILED)
    assert store.send_again(job.id, None)
    found = _got(store, job.id)
    assert found == replace(job, status=QUEUED, error=None, error_code=None, updated_s=found.updated_s,
                            expires_s=found.expires_s)  # fmt: skip
    assert store.claim(job.id, "owner", 60)
    assert store.succeed(job.id, "owner", RESULT)
    assert _got(store, job.id).attempts == 1


def test_a_lease_that_is_over_is_anyones_and_not_its_owners(store: JobStore) -> None:
    job = _new(store)
    assert store.claim(job.id, "dead", 0)
    assert store.claim(job.id, "owner", 60)
    assert not store.claim(job.id, "third", 60)
    assert not store.succeed(job.id, "dead", RESULT)
    assert not store.fail(job.id, 422, "why", "dead")
    assert not store.release(job.id, "dead")
    assert store.succeed(job.id, "owner", RESULT)
    assert _got(store, job.id).attempts == 2


def test_a_lease_that_is_over_is_its_owners_until_somebody_takes_it(store: JobStore) -> None:
    job = _new(store)
    assert store.claim(job.id, "slow", 0)
    assert store.succeed(job.id, "slow", RESULT)


def test_a_brokers_job_that_nobody_runs_is_lost_after_a_while_and_told_once(store: JobStore) -> None:
    queued, embedded, held, dead, done = (
        store.create(NewJob("/test", name, event=b"event", due_s=time.time() if name == "embedded" else None))[0]
        for name in ("queued", "embedded", "held", "dead", "done")
    )
    assert store.lost(queued.id, 60) is None
    for job, lease_s in ((held, 60), (dead, 0), (done, 60)):
        assert store.claim(job.id, "owner", lease_s)
    assert store.succeed(done.id, "owner", RESULT)
    for job, is_lost in ((queued, True), (embedded, False), (held, False), (dead, True), (done, False)):
        assert store.lost(job.id, 0) == (b"event" if is_lost else None)
    assert store.lost(queued.id, 60) is None
    assert store.lost(store.create(NewJob("/camera", "1"))[0].id, 0) is None


def test_an_event_is_begun_once_whether_its_job_was_there_or_not(store: JobStore) -> None:
    queued = _new(store, "queued")
    for name in ("new", "queued"):
        job_id = store.begin("/test", name, "owner", 60)
        assert job_id
        assert store.begin("/test", name, "other", 60) is None
        job = _got(store, job_id)
        assert (job.status, job.source, job.event_id, job.attempts) == (RUNNING, "/test", name, 1)
        assert store.succeed(job_id, "owner", RESULT)
        assert store.begin("/test", name, "other", 60) is None
    assert _got(store, queued.id).status == SUCCEEDED


@pytest.mark.parametrize(("code", "is_begun"), [(503, True), (422, False)])
def test_what_was_only_given_up_is_begun_again(store: JobStore, code: int, is_begun: bool) -> None:
    job = _new(store)
    assert store.fail(job.id, code, "why")
    assert store.begin("/test", "1", "owner", 60) == (job.id if is_begun else None)


def test_what_a_dead_owner_had_is_begun_by_another(store: JobStore) -> None:
    job_id = store.begin("/test", "1", "dead", 0)
    assert store.begin("/test", "1", "owner", 60) == job_id
    assert job_id
    assert not store.succeed(job_id, "dead", RESULT)
    assert _got(store, job_id).attempts == 2


def test_only_what_no_broker_has_is_discarded(store: JobStore) -> None:
    job = _new(store)
    assert store.sent(job.id)
    assert _got(store, job.id).deliveries == 1
    assert not store.discard(job.id)


def test_an_event_is_kept_once(store: JobStore) -> None:
    job, _ = store.create(NewJob("/test", "1"))
    assert store.event(job.id) is None
    assert store.keep_event(job.id, b"first", due_s=7.0)
    assert not store.keep_event(job.id, b"second")
    assert store.event(job.id) == b"first"
    assert DeliveryQueue(store.database).next_s() == 7.0


def test_pages_are_newest_first_and_without_results(store: JobStore) -> None:
    jobs = [_new(store, str(number)) for number in range(5)]
    assert store.claim(jobs[1].id, "owner", 60)
    assert store.succeed(jobs[1].id, "owner", RESULT)
    first = store.page(None, 3, None)
    second = store.page(None, 3, (first[-1].created_s, first[-1].id))
    listed = [*first, *second]
    wanted = sorted(jobs, key=lambda job: (job.created_s, job.id), reverse=True)
    assert [job.id for job in listed] == [job.id for job in wanted]
    assert all(job.result is None for job in listed)
    assert [job.id for job in store.page(SUCCEEDED, 3, None)] == [jobs[1].id]
    assert store.page(FAILED, 3, None) == []


def test_jobs_of_the_same_moment_are_paged_by_their_ids(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1e9 + 1 / 3)
    ids = sorted((_new(store, str(number)).id for number in range(4)), reverse=True)
    seen: list[Job] = []
    while page := store.page(None, 1, (seen[-1].created_s, seen[-1].id) if seen else None):
        seen += page
    assert [job.id for job in seen] == ids
