"""What jobs may take: time, threads, bytes, days; each limit by a service that has it low."""

import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from service.settings import Settings
from tests.conftest import Serve
from tests.support.eventually import eventually
from tests.support.jobs import (
    WAIT_S,
    event_stream,
    finished,
    job_of_another_pod,
    later,
    listed,
    post,
    server_sent_events,
    view,
)
from tests.support.pictures import png
from tests.support.serving import Answer, Server

ABSENT = "0" * 32


def test_nobody_waits_longer_than_a_request_may_take(serve: Serve, tiny_onnx: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    server = serve(tiny_onnx, DATABASE_URL=url, REQUEST_TIMEOUT_MS="2000")
    with job_of_another_pod(url) as (_, job), closing(server.connect()) as connection:
        before = time.monotonic()
        answer = server.call("GET", f"/jobs/{job.id}", headers={"Prefer": "wait=999999999"})
        assert (answer.json["status"], answer.headers["Preference-Applied"]) == ("queued", "wait=2")
        assert [name for name, _ in server_sent_events(connection, job.id)] == ["queued", "reconnect"]
        assert 4 <= time.monotonic() - before < WAIT_S


def test_a_stream_that_ends_before_its_job_goes_on_where_it_was(serve: Serve, tiny_onnx: Path, tmp_path: Path) -> None:
    """As an EventSource does it: with the id of the last event that it has seen."""
    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    server = serve(tiny_onnx, DATABASE_URL=url, REQUEST_TIMEOUT_MS="2000")
    with job_of_another_pod(url) as (store, job), closing(server.connect()) as connection:
        queued, reconnect = event_stream(connection, job.id)
        assert (queued["event"], reconnect) == ("queued", {"event": "reconnect", "data": '{"retry_ms": 2000}'})
        assert [name for name, _ in server_sent_events(connection, job.id, queued["id"])] == ["reconnect"]
        assert store.claim(job.id, "another pod", 60)
        assert [name for name, _ in server_sent_events(connection, job.id, queued["id"])] == ["running", "reconnect"]


def test_more_streams_than_may_be_open_are_told_the_status_and_to_come_again(
    serve: Serve, tiny_onnx: Path, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    server = serve(tiny_onnx, DATABASE_URL=url, MAX_JOB_STREAMS="1")
    with (
        job_of_another_pod(url) as (store, job),
        closing(server.connect()) as first,
        closing(server.connect()) as second,
    ):
        followed = server_sent_events(first, job.id)
        assert next(followed)[0] == "queued"
        assert [name for name, _ in server_sent_events(second, job.id)] == ["queued", "reconnect"]
        assert store.claim(job.id, "another pod", 60)
        assert next(followed)[0] == "running"
        assert [name for name, _ in server_sent_events(second, job.id)] == ["running", "reconnect"]


def test_who_is_too_much_to_wait_is_told_that_it_was_not_waited_for(
    serve: Serve, tiny_onnx: Path, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    server = serve(tiny_onnx, DATABASE_URL=url, REQUEST_THREADS="3")
    with job_of_another_pod(url) as (store, job), ThreadPoolExecutor(2) as pool:
        path, headers = f"/jobs/{job.id}", {"Prefer": f"wait={WAIT_S}"}
        asked = [pool.submit(server.call, "GET", path, None, headers) for _ in range(2)]
        (told,), (waiting,) = wait(asked, WAIT_S / 2, FIRST_COMPLETED)
        assert _told(told.result()) == ("queued", "wait=0")
        assert store.fail(job.id, 500, "")
        assert _told(waiting.result()) == ("failed", f"wait={WAIT_S}")


def _told(answer: Answer) -> tuple[str, str]:
    return answer.json["status"], answer.headers["Preference-Applied"]


def test_those_who_wait_leave_threads_for_the_work(serve: Serve, tiny_onnx: Path, tmp_path: Path) -> None:
    """More clients that wait than threads: all are answered in no more time than the jobs take."""
    settings = {"DATABASE_URL": f"sqlite:///{tmp_path}/jobs.sqlite", "REQUEST_THREADS": "3"}
    server = serve(tiny_onnx, **settings)
    before = time.monotonic()
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: post(server, Prefer=f"wait={WAIT_S}"), range(12)))
    assert {answer.status for answer in answers} <= {200, 202}
    for answer in answers:
        assert finished(server, answer.headers["Location"].removeprefix("/jobs/"))["status"] == "succeeded"
    assert time.monotonic() - before < WAIT_S


def test_with_a_single_thread_jobs_are_computed_too(serve: Serve, tiny_onnx: Path, tmp_path: Path) -> None:
    settings = {"DATABASE_URL": f"sqlite:///{tmp_path}/jobs.sqlite", "REQUEST_THREADS": "1"}
    server = serve(tiny_onnx, **settings)
    job_id = later(server)
    eventually(lambda: bool(view(server, job_id, WAIT_S)["status"] == "succeeded"), WAIT_S)


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_those_who_follow_leave_threads_for_the_work(
    serve: Serve, tiny_onnx: Path, tmp_path: Path, threads: int
) -> None:
    """As many streams as are open at once unless set otherwise, of a job that does not end."""
    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    server = serve(tiny_onnx, DATABASE_URL=url, REQUEST_THREADS=str(threads), REQUEST_TIMEOUT_MS="60000")
    with job_of_another_pod(url) as (_, job), ExitStack() as stack:
        for _ in range(Settings.max_job_streams):
            followed = server_sent_events(stack.enter_context(closing(server.connect())), job.id)
            assert next(followed)[0] == "queued"
        assert finished(server, later(server))["status"] == "succeeded"


def test_results_expire(serve: Serve, tiny_onnx: Path, tmp_path: Path) -> None:
    server = serve(tiny_onnx, DATABASE_URL=f"sqlite:///{tmp_path}/jobs.sqlite", JOB_TTL_S="1")
    job_id = later(server, Idempotency_Key="key")
    eventually(lambda: server.call("GET", f"/jobs/{job_id}").status == 404, WAIT_S)
    assert server.call("GET", f"/jobs/{job_id}/result").status == 404
    assert later(server, Idempotency_Key="key") != job_id


def test_a_result_over_its_limit_is_a_failed_job(serve: Serve, tiny_onnx: Path, tmp_path: Path) -> None:
    server = serve(tiny_onnx, DATABASE_URL=f"sqlite:///{tmp_path}/jobs.sqlite", MAX_RESULT_BYTES="10")
    job = finished(server, later(server))
    assert job["error"]["code"] == 413
    assert job["error"]["message"].endswith("more than MAX_RESULT_BYTES")
    assert post(server).status == 200


def test_a_request_over_its_limit_is_refused_and_one_as_large_as_that_is_a_job(
    serve: Serve, tiny_onnx: Path, tmp_path: Path
) -> None:
    url, picture = f"sqlite:///{tmp_path}/jobs.sqlite", png(60, 50)
    server = serve(tiny_onnx, DATABASE_URL=url, MAX_BODY_BYTES=str(len(picture)))
    assert finished(server, later(server, picture))["status"] == "succeeded"
    assert post(server, picture + b"x", Prefer="respond-async").status == 413
    assert len(listed(server)) == 1


def test_without_a_database_everything_is_answered_at_once(tiny_server: Server) -> None:
    answer = post(tiny_server, Prefer="respond-async", Idempotency_Key="key")
    assert answer.status == 200
    assert not {"Location", "Preference-Applied"} & set(answer.headers.keys())
    for path in ("/jobs", f"/jobs/{ABSENT}", f"/jobs/{ABSENT}/result"):
        refused = tiny_server.call("GET", path)
        assert (refused.status, refused.error) == (404, "no jobs are kept here: set DATABASE_URL")
