"""Processes that are killed in the middle of jobs, or end while jobs wait: none is lost, each is computed once."""

import http.client
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.jobs.job import SUCCEEDED, Job
from service.jobs.store import JobStore
from tests.conftest import JOB_TTL_S
from tests.support.eventually import eventually
from tests.support.jobs import WAIT_S, finished, later, post, runs, view
from tests.support.serving import START_S, Server, serving, started
from tests.web.test_metrics import samples

JOBS = 200
CLIENTS = 8
# An incomplete batch waits for so long, and so 200 jobs take seconds.
SLOW = {"RUNNERS": "1", "MAX_QUEUE_DELAY_MS": "20"}
# Deliveries at the same time: so many at most are interrupted.
ON_THEIR_WAY = 2


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/jobs.sqlite"


@pytest.fixture
def store(url: str) -> Iterator[JobStore]:
    opened = JobStore(url, JOB_TTL_S)
    yield opened
    opened.close()


def _submit(server: Server, count: int) -> list[str]:
    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(lambda _: later(server), range(count)))


def _succeeded(store: JobStore) -> dict[str, Job]:
    return {job.id: job for job in store.page(SUCCEEDED, 10 * JOBS, None)}


def _kill(server: Server, *, arbiter_too: bool) -> None:
    """SIGKILL; the arbiter first, so that it starts no other worker."""
    worker = server.worker_pid
    if arbiter_too:
        server.process.kill()
        server.process.wait()
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{worker}").exists() or _is_zombie(worker), START_S, "the worker is gone")


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def _assert_each_computed_once(store: JobStore, ids: list[str], before: dict[str, Job], server: Server) -> None:
    """All succeed; what had succeeded before is as it was; all others are computed once in the new process."""
    eventually(lambda: len(_succeeded(store)) == len(ids), 2 * START_S, "all jobs have succeeded")
    after = _succeeded(store)
    assert after.keys() == set(ids)
    assert {job_id: after[job_id] for job_id in before} == before
    interrupted = [job for job in after.values() if job.attempts > 1]
    assert len(interrupted) <= ON_THEIR_WAY
    assert {job.attempts for job in after.values()} <= {1, 2}
    assert not {job.id for job in interrupted} & before.keys()
    assert runs(server) == len(ids) - len(before)
    wanted = post(server).body
    for job_id in ids:
        job = store.get(job_id)
        assert job is not None
        assert job.result is not None
        assert job.result.body == wanted


def _wait_for_the_middle(store: JobStore, ids: list[str]) -> None:
    eventually(lambda: len(_succeeded(store)) >= len(ids) // 4, START_S, "a quarter of the jobs")


def test_kill_9_of_everything_in_the_middle_of_jobs_loses_none_and_computes_each_once(
    tiny_onnx: Path, tmp_path: Path, url: str, store: JobStore
) -> None:
    with serving(tiny_onnx, tmp_path / "first", DATABASE_URL=url, **SLOW) as server:
        ids = _submit(server, JOBS)
        _wait_for_the_middle(store, ids)
        _kill(server, arbiter_too=True)
    before = _succeeded(store)
    assert JOBS // 4 <= len(before) < JOBS
    with serving(tiny_onnx, tmp_path / "second", DATABASE_URL=url, **SLOW) as server:
        _assert_each_computed_once(store, ids, before, server)
        assert f"{JOBS - len(before)} unfinished jobs of an earlier process go on" in server.log


def test_kill_9_of_the_worker_in_the_middle_of_jobs_loses_none_and_computes_each_once(
    tiny_onnx: Path, tmp_path: Path, url: str, store: JobStore
) -> None:
    with serving(tiny_onnx, tmp_path / "log", DATABASE_URL=url, **SLOW) as server:
        ids = _submit(server, JOBS)
        _wait_for_the_middle(store, ids)
        _kill(server, arbiter_too=False)
        before = _succeeded(store)
        assert JOBS // 4 <= len(before) < JOBS
        eventually(server.is_ready, START_S, "another worker")
        _assert_each_computed_once(store, ids, before, server)


def test_every_job_that_was_taken_before_a_kill_9_is_answered(
    tiny_onnx: Path, tmp_path: Path, url: str, store: JobStore
) -> None:
    """Clients that go on until they are cut off: what got a 202 is there."""
    taken: list[str] = []

    def submit(_: int) -> None:
        while True:
            try:
                taken.append(later(server))
            except (OSError, http.client.HTTPException):
                return

    with (
        serving(tiny_onnx, tmp_path / "first", DATABASE_URL=url, **SLOW) as server,
        ThreadPoolExecutor(CLIENTS) as pool,
    ):
        clients = pool.map(submit, range(CLIENTS))
        eventually(lambda: len(taken) > JOBS // 4 and len(_succeeded(store)) > ON_THEIR_WAY, START_S)
        _kill(server, arbiter_too=True)
        assert list(clients) == [None] * CLIENTS
    with serving(tiny_onnx, tmp_path / "second", DATABASE_URL=url):
        eventually(lambda: set(taken) <= _succeeded(store).keys(), 2 * START_S, "all that were taken")
    # One that was stored, but whose 202 did not get out, is computed too.
    assert len(_succeeded(store)) - len(taken) <= CLIENTS


def test_sigterm_while_jobs_wait_ends_in_time_and_they_go_on_after_the_restart(
    tiny_onnx: Path, tmp_path: Path, url: str, store: JobStore
) -> None:
    with (
        serving(tiny_onnx, tmp_path / "first", DATABASE_URL=url, **SLOW) as server,
        ThreadPoolExecutor(2) as pool,
    ):
        ids = _submit(server, JOBS)
        json = pool.submit(view, server, ids[-1], WAIT_S)
        accept = {"Accept": "text/event-stream"}
        stream = pool.submit(server.call, "GET", f"/jobs/{ids[-1]}", None, accept)
        eventually(lambda: samples(server)["kindling_requests_in_flight",] >= 3, START_S, "both wait")
        begun = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begun < WAIT_S / 2
        assert json.result()["status"] in ("queued", "running")
        assert stream.result().body.startswith(b"retry: 2000\n\nevent: queued\n")
        assert "Traceback" not in server.log
    before = _succeeded(store)
    assert len(before) < JOBS
    assert all(job.attempts <= 1 for job in store.page(None, 10 * JOBS, None))
    with serving(tiny_onnx, tmp_path / "second", DATABASE_URL=url) as server:
        _assert_each_computed_once(store, ids, before, server)


def _delivered(server: Server) -> float:
    return sum(value for key, value in samples(server).items() if key[:2] == ("kindling_requests_total", "/events"))


def test_of_two_processes_with_one_file_one_delivers_until_it_is_killed(
    tiny_onnx: Path, tmp_path: Path, url: str, store: JobStore
) -> None:
    with (
        serving(tiny_onnx, tmp_path / "first", DATABASE_URL=url) as first,
        serving(tiny_onnx, tmp_path / "second", DATABASE_URL=url) as second,
    ):
        for server in (first, second):
            for job_id in _submit(server, 10):
                assert finished(server, job_id)["status"] == "succeeded"
        assert (_delivered(first), _delivered(second)) == (20, 0)
        _kill(first, arbiter_too=True)
        for job_id in _submit(second, 10):
            assert finished(second, job_id)["status"] == "succeeded"
        assert _delivered(second) == 10
    assert {job.attempts for job in _succeeded(store).values()} == {1}


def test_a_job_may_come_while_the_model_is_still_loading(tiny_onnx: Path, tmp_path: Path, url: str) -> None:
    with started(tiny_onnx, tmp_path / "log", DATABASE_URL=url) as server:
        ids: list[str] = []

        def is_taken() -> bool:
            try:
                ids.append(later(server))
            except OSError:
                return False
            return True

        eventually(is_taken, START_S)
        assert finished(server, ids[0])["status"] == "succeeded"
