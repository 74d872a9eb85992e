"""Jobs that a worker computes: it shares the database with the service that takes them, and delivers to nobody else."""

import time
from pathlib import Path

from tests.conftest import Serve
from tests.support.jobs import LATER, PICTURE, finished, later, post, runs, view
from tests.support.postgresql import PostgreSQL
from tests.support.serving import HOST, Server, free_port, serving

COUNT = 20


def _pair(serve: Serve, artifact: Path, postgresql: PostgreSQL) -> tuple[Server, Server]:
    """The service, and its worker."""
    url = postgresql.database()
    worker = serve(artifact, DATABASE_URL=url)
    return serve(artifact, DATABASE_URL=url, DELIVERY_URL=f"http://{worker.address}/events"), worker


def test_the_worker_computes_what_is_asked_for_later(serve: Serve, tiny_onnx: Path, postgresql: PostgreSQL) -> None:
    public, worker = _pair(serve, tiny_onnx, postgresql)
    at_once = post(public).json
    jobs = [later(public) for _ in range(COUNT)]
    assert all(finished(public, job)["result"] == at_once for job in jobs)
    assert (runs(public), runs(worker)) == (1, COUNT)
    assert {view(worker, job)["status"] for job in jobs} == {"succeeded"}


def test_the_worker_is_told_at_once(serve: Serve, tiny_onnx: Path, postgresql: PostgreSQL) -> None:
    """And need not look for jobs, which it does every second."""
    public, _ = _pair(serve, tiny_onnx, postgresql)
    finished(public, later(public))
    took = []
    for _ in range(5):
        start = time.monotonic()
        answer = post(public, PICTURE, **LATER | {"Prefer": "wait=10"})
        assert answer.status == 200, answer.body
        took.append(time.monotonic() - start)
    assert sorted(took)[2] < 1


def test_jobs_wait_for_a_worker_that_is_not_there_yet(
    serve: Serve, tiny_onnx: Path, postgresql: PostgreSQL, tmp_path: Path
) -> None:
    port, url = free_port(), postgresql.database()
    public = serve(tiny_onnx, DATABASE_URL=url, DELIVERY_URL=f"http://{HOST}:{port}/events")
    job = later(public)
    assert view(public, job)["status"] == "queued"
    with serving(tiny_onnx, tmp_path / "log", DATABASE_URL=url) as worker:
        assert finished(public, job)["status"] == "succeeded"
        assert (runs(public), runs(worker)) == (0, 1)
