"""Requests that are answered later, asked of the real service."""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from service.jobs.job import Job, NewJob
from service.jobs.store import JobStore
from tests.conftest import JOB_TTL_S
from tests.support.eventually import eventually
from tests.support.pictures import png
from tests.support.serving import Answer, Server

PICTURE = png(40, 30)
LATER = {"Prefer": "respond-async"}
WAIT_S = 20
FINAL = ("succeeded", "failed", "cancelled")


def post(server: Server, body: Any = PICTURE, path: str = "/infer", **headers: str) -> Answer:
    """`headers` as in `Idempotency_Key="1"`."""
    return server.call("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})


def later(server: Server, body: Any = PICTURE, path: str = "/infer", **headers: str) -> str:
    """The id of the job that the request has become."""
    answer = post(server, body, path, **{"Prefer": "respond-async", **headers})
    assert answer.status == 202, answer.body
    job_id = str(answer.json["id"])
    assert answer.headers["Location"] == f"/jobs/{job_id}"
    assert answer.headers["Preference-Applied"] == "respond-async"
    return job_id


def view(server: Server, job_id: str, wait_s: int | None = None) -> Any:
    answer = server.call("GET", f"/jobs/{job_id}", headers={} if wait_s is None else {"Prefer": f"wait={wait_s}"})
    assert answer.status == 200, answer.body
    assert ("Retry-After" in answer.headers) == (answer.json["status"] not in FINAL)
    return answer.json


def finished(server: Server, job_id: str) -> Any:
    """The job, once it is final."""
    eventually(lambda: view(server, job_id, WAIT_S)["status"] in FINAL, 60, f"job {job_id}: {view(server, job_id)}")
    return view(server, job_id)


def runs(server: Server) -> int:
    """How many items the model has computed."""
    from tests.web.test_metrics import samples

    return int(sum(int(key[1]) * value for key, value in samples(server).items() if key[0] == "kindling_runs_total"))


def listed(server: Server, query: str = "") -> list[Any]:
    answer = server.call("GET", f"/jobs{query}")
    assert answer.status == 200, answer.body
    found: list[Any] = answer.json["jobs"]
    return found


@contextmanager
def job_of_another_pod(url: str) -> Iterator[tuple[JobStore, Job]]:
    """A job that changes only as the test has it; forgotten in the end."""
    store = JobStore(url, JOB_TTL_S)
    job, _ = store.create(NewJob("/elsewhere", uuid4().hex))
    yield store, job
    store.fail(job.id, 500, "")
    store.delete(job.id)
    store.close()


def server_sent_events(
    connection: http.client.HTTPConnection, job_id: str, last_event_id: str = ""
) -> Iterator[tuple[str, Any]]:
    """Name and data of each server-sent event; the stream ends with the response."""
    for fields in event_stream(connection, job_id, last_event_id):
        yield fields["event"], json.loads(fields["data"])


def event_stream(
    connection: http.client.HTTPConnection, job_id: str, last_event_id: str = ""
) -> Iterator[dict[str, str]]:
    """The fields of each server-sent event."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_event_id} if last_event_id else {})
    connection.request("GET", f"/jobs/{job_id}", headers=headers)
    response = connection.getresponse()
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert response.readline() == b"retry: 2000\n"
    fields: dict[str, str] = {}
    for line in response:
        if line == b"\n":
            if fields:
                yield fields
            fields = {}
        else:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            assert name in ("", "event", "id", "data")
            fields |= {name: value} if name else {}
