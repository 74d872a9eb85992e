"""Jobs of the real service as they are asked for, followed, listed, cancelled, forgotten and sent again."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from service.call import Result
from service.jobs.job import NewJob
from service.jobs.store import JobStore
from tests.conftest import JOB_TTL_S
from tests.support.jobs import (
    WAIT_S,
    event_stream,
    finished,
    job_of_another_pod,
    later,
    listed,
    server_sent_events,
    view,
)
from tests.support.serving import Server

ABSENT = "0" * 32


def test_jobs_are_listed_by_pages(jobs_server: Server) -> None:
    ids = [later(jobs_server) for _ in range(5)]
    for each in ids:
        finished(jobs_server, each)
    found: list[str] = []
    after = ""
    while len(found) < 5:
        page = jobs_server.call("GET", f"/jobs?status=succeeded&limit=2{after}").json
        assert 1 <= len(page["jobs"]) <= 2
        assert all(job["status"] == "succeeded" and "result" not in job for job in page["jobs"])
        found += [job["id"] for job in page["jobs"]]
        after = f"&after={page['next']}"
    assert found[:5] == ids[::-1]
    assert {job["status"] for job in listed(jobs_server, "?status=failed")} <= {"failed"}


def test_the_last_page_has_no_next(jobs_server: Server) -> None:
    page = jobs_server.call("GET", f"/jobs?limit=1&after=1.0-{ABSENT}").json
    assert page == {"jobs": [], "next": None}


@pytest.mark.parametrize("query", [
    "status=done", "limit=0", "limit=501", "limit=x", "limit=-1", "after=x", "after=1-2", "after=nan-" + ABSENT,
    "after=1.0-%00", "after=1e9-" + ABSENT,
])  # fmt: skip
def test_a_malformed_page_is_refused(jobs_server: Server, query: str) -> None:
    answer = jobs_server.call("GET", f"/jobs?{query}")
    assert answer.status == 400
    assert "wanted" in answer.error


@pytest.mark.parametrize("job_id", [ABSENT, "x", "%00", ABSENT + "0", "..", "é"])
@pytest.mark.parametrize(("method", "end"), [("GET", ""), ("GET", "/result"), ("DELETE", ""), ("POST", "/retry")])
def test_a_job_that_is_not_there_is_not_found(jobs_server: Server, method: str, end: str, job_id: str) -> None:
    answer = jobs_server.call(method, f"/jobs/{job_id}{end}".replace("é", "%C3%A9"))
    assert answer.status == 404
    assert answer.error


def test_a_finished_job_can_be_forgotten(jobs_server: Server) -> None:
    job_id = later(jobs_server)
    finished(jobs_server, job_id)
    deleted = jobs_server.call("DELETE", f"/jobs/{job_id}")
    assert (deleted.status, deleted.body) == (204, b"")
    assert jobs_server.call("GET", f"/jobs/{job_id}").status == 404
    assert jobs_server.call("DELETE", f"/jobs/{job_id}").status == 404


def test_a_running_job_is_neither_cancelled_nor_sent_again(jobs_server: Server, jobs_url: str) -> None:
    store = JobStore(jobs_url, JOB_TTL_S)
    job, _ = store.create(NewJob("/elsewhere", ABSENT))
    assert store.claim(job.id, "another pod", 60)
    cancelled = jobs_server.call("DELETE", f"/jobs/{job.id}")
    assert (cancelled.status, cancelled.error) == (409, "the job is running: it cannot be cancelled any more")
    again = jobs_server.call("POST", f"/jobs/{job.id}/retry")
    assert (again.status, again.error) == (409, "only a failed job whose request is kept can be sent again")
    early = jobs_server.call("GET", f"/jobs/{job.id}/result")
    assert (early.status, early.error) == (409, "the job is running: ask again")
    assert store.succeed(job.id, "another pod", Result(b"\x00", "image/png", {"X-Size": "1"}))
    assert "result" not in view(jobs_server, job.id)
    result = jobs_server.call("GET", f"/jobs/{job.id}/result")
    assert (result.body, result.headers["Content-Type"], result.headers["X-Size"]) == (b"\x00", "image/png", "1")
    assert jobs_server.call("DELETE", f"/jobs/{job.id}").status == 204
    store.close()


def test_a_failed_job_can_be_sent_again(jobs_server: Server, jobs_url: str) -> None:
    job_id = later(jobs_server)
    finished(jobs_server, job_id)
    assert jobs_server.call("POST", f"/jobs/{job_id}/retry").status == 409
    store = JobStore(jobs_url, JOB_TTL_S)
    failed_id = later(jobs_server, b"no picture")
    assert finished(jobs_server, failed_id)["error"]["code"] == 422
    again = jobs_server.call("POST", f"/jobs/{failed_id}/retry")
    assert again.status == 202
    assert again.json["status"] in ("queued", "running")
    assert "error" not in again.json
    assert finished(jobs_server, failed_id)["error"]["code"] == 422
    store.close()


def test_server_sent_events_follow_a_job_to_its_end(jobs_server: Server, jobs_url: str) -> None:
    with job_of_another_pod(jobs_url) as (store, job), closing(jobs_server.connect()) as connection:
        followed = server_sent_events(connection, job.id)
        name, seen = next(followed)
        assert (name, seen["status"], seen["attempts"]) == ("queued", "queued", 0)
        assert store.claim(job.id, "another pod", 60)
        name, seen = next(followed)
        assert (name, seen["status"], seen["attempts"]) == ("running", "running", 1)
        assert store.succeed(job.id, "another pod", Result(b'{"labels":[]}'))
        name, seen = next(followed)
        assert (name, seen["result"]) == ("succeeded", {"labels": []})
        assert list(followed) == []


def test_server_sent_events_of_a_finished_job_are_one(jobs_server: Server) -> None:
    job_id = later(jobs_server)
    wanted = finished(jobs_server, job_id)
    with closing(jobs_server.connect()) as connection:
        assert list(server_sent_events(connection, job_id)) == [("succeeded", wanted)]


def test_who_has_seen_the_end_of_a_job_does_not_come_again(jobs_server: Server, jobs_url: str) -> None:
    """204 is what tells an EventSource to stop; without it, it asks every few seconds, and the pod never sleeps."""
    with job_of_another_pod(jobs_url) as (store, job), closing(jobs_server.connect()) as connection:
        assert store.fail(job.id, 500, "why")
        (failed,) = event_stream(connection, job.id)
        headers = {"Accept": "text/event-stream", "Last-Event-ID": failed["id"]}
        again = jobs_server.call("GET", f"/jobs/{job.id}", headers=headers)
        assert (again.status, again.body) == (204, b"")
        assert [name for name, _ in server_sent_events(connection, job.id, "another")] == ["failed"]
        assert store.send_again(job.id, None)
        assert next(server_sent_events(connection, job.id, failed["id"]))[0] == "queued"


def test_server_sent_events_of_a_job_that_is_forgotten_end(jobs_server: Server, jobs_url: str) -> None:
    with job_of_another_pod(jobs_url) as (store, job), closing(jobs_server.connect()) as connection:
        followed = server_sent_events(connection, job.id)
        next(followed)
        assert store.discard(job.id)
        assert [name for name, _ in followed] == ["reconnect"]
        again = jobs_server.call("GET", f"/jobs/{job.id}", headers={"Accept": "text/event-stream"})
        assert again.status == 404


def test_server_sent_events_of_no_job_are_an_error(jobs_server: Server) -> None:
    answer = jobs_server.call("GET", f"/jobs/{ABSENT}", headers={"Accept": "text/event-stream"})
    assert (answer.status, answer.error) == (404, f"no job '{ABSENT}'")


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "application/json, text/event-stream;q=0.5", "text/html"]
)
def test_who_does_not_ask_for_events_gets_json(jobs_server: Server, accept: str) -> None:
    job_id = later(jobs_server)
    answer = jobs_server.call("GET", f"/jobs/{job_id}", headers={"Accept": accept})
    assert answer.json["id"] == job_id


@pytest.mark.parametrize("end", ["", "/result"])
def test_a_long_poll_ends_when_the_job_does_wherever_it_is_computed(
    jobs_server: Server, jobs_url: str, end: str
) -> None:
    with job_of_another_pod(jobs_url) as (store, job), ThreadPoolExecutor(1) as pool:
        poll = pool.submit(jobs_server.call, "GET", f"/jobs/{job.id}{end}", None, {"Prefer": f"wait={WAIT_S}"})
        assert store.claim(job.id, "another pod", 60)
        assert not poll.done()
        assert store.succeed(job.id, "another pod", Result(b'{"labels":[]}'))
        found = poll.result().json
    assert found == {"labels": []} if end else found["status"] == "succeeded"


def test_a_long_poll_ends_after_the_time_that_it_named(jobs_server: Server, jobs_url: str) -> None:
    with job_of_another_pod(jobs_url) as (_, job):
        before = time.monotonic()
        assert view(jobs_server, job.id, wait_s=1)["status"] == "queued"
        assert 1 <= time.monotonic() - before < WAIT_S
