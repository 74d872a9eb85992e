"""Jobs belong to the key that made them: nobody else sees them, nor learns that they exist."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from service.jobs.job import FAILED, NewJob
from service.jobs.store import JobStore
from tests.conftest import JOB_TTL_S, Serve
from tests.support.broker import Received, listening, with_broker
from tests.support.events import event, message
from tests.support.eventually import eventually
from tests.support.jobs import FINAL, PICTURE, WAIT_S
from tests.support.keys import API_KEYS, MOBILE, MOBILE_NEXT, WEB, bearer
from tests.support.pictures import png
from tests.support.serving import Answer, Server

ABSENT = "0" * 32


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path_factory.mktemp('callers')}/jobs.sqlite"
    return str(request.getfixturevalue("postgresql").database())


@pytest.fixture
def server(serve: Serve, tiny_onnx: Path, url: str) -> Server:
    return serve(tiny_onnx, DATABASE_URL=url, API_KEYS=API_KEYS)


@pytest.fixture
def keyless(serve: Serve, tiny_onnx: Path, url: str) -> Server:
    """Needs no keys, and has the same database as `server`; both deliver jobs."""
    return serve(tiny_onnx, DATABASE_URL=url)


def _call(server: Server, key: str, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.call(method, path, body, {**bearer(key), **named})


def _later(server: Server, key: str, body: Any = PICTURE, **headers: str) -> str:
    answer = _call(server, key, "POST", "/infer", body, **{"Prefer": "respond-async", **headers})
    assert answer.status == 202, answer.body
    return str(answer.json["id"])


def _finished(server: Server, key: str, job_id: str) -> Any:
    found: list[Any] = []

    def is_final() -> bool:
        found.append(_call(server, key, "GET", f"/jobs/{job_id}", Prefer=f"wait={WAIT_S}").json)
        return found[-1]["status"] in FINAL

    eventually(is_final, 60, f"job {job_id}")
    return found[-1]


def _listed(server: Server, key: str, query: str = "?limit=500") -> list[str]:
    return [each["id"] for each in _call(server, key, "GET", f"/jobs{query}").json["jobs"]]


def test_a_job_is_computed_and_seen_by_all_keys_of_its_caller(server: Server) -> None:
    at_once = _call(server, MOBILE, "POST", "/infer", PICTURE)
    job_id = _later(server, MOBILE)
    job = _finished(server, MOBILE_NEXT, job_id)
    assert (job["status"], job["result"], job["made_by"]) == ("succeeded", at_once.json, "mobile")
    assert job["event"] == {"source": "/v2/models/tiny/jobs", "id": job_id}
    assert job_id in _listed(server, MOBILE_NEXT)
    assert _call(server, MOBILE_NEXT, "DELETE", f"/jobs/{job_id}").status == 204


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [("GET", "", {}), ("GET", "", {"Prefer": "wait=5"}), ("GET", "", {"Accept": "text/event-stream"}), ("GET", "/result", {}),
     ("GET", "/result", {"Prefer": "wait=5"}), ("DELETE", "", {}), ("POST", "/retry", {}), ("HEAD", "", {})],
)  # fmt: skip
def test_another_caller_gets_what_it_would_get_for_a_job_that_is_not_there(
    server: Server, method: str, path: str, headers: dict[str, str]
) -> None:
    def told(key: str, job_id: str) -> tuple[int, list[tuple[str, str]], str]:
        answer = _call(server, key, method, f"/jobs/{job_id}{path}", **headers)
        others = [each for each in answer.headers if each[0] not in ("Date", "Content-Length", "X-Request-Id")]
        return answer.status, others, answer.body.decode().replace(job_id, "ID")

    finished, failed = _later(server, MOBILE), _later(server, MOBILE, b"no picture")
    _finished(server, MOBILE, finished)
    _finished(server, MOBILE, failed)
    refused = told(WEB, ABSENT)
    assert refused[0] == 404
    assert told(WEB, finished) == told(WEB, failed) == refused
    # And nothing has happened to them.
    assert _call(server, MOBILE, "GET", f"/jobs/{finished}").json["status"] == "succeeded"
    assert _call(server, MOBILE, "GET", f"/jobs/{failed}").json["status"] == "failed"


def test_a_list_has_the_jobs_of_its_caller_page_by_page(server: Server, keyless: Server) -> None:
    mine, theirs = [_later(server, MOBILE) for _ in range(3)], [_later(server, WEB) for _ in range(2)]
    found, query = [], "?limit=2"
    while True:
        page = _call(server, MOBILE, "GET", f"/jobs{query}").json
        found += [each["id"] for each in page["jobs"]]
        if page["next"] is None:
            break
        query = f"?limit=2&after={page['next']}"
    assert found[:3] == mine[::-1]
    assert not {*found} & {*theirs}
    assert len(found) == len({*found})
    assert _listed(server, WEB)[:2] == theirs[::-1]
    # Where no keys are needed, as in a worker, the jobs of all callers are seen.
    assert {*mine, *theirs} <= {each["id"] for each in keyless.call("GET", "/jobs?limit=500").json["jobs"]}


def test_a_job_that_was_made_without_a_key_is_nobody_s(server: Server, keyless: Server) -> None:
    job_id = keyless.call("POST", "/infer", PICTURE, {"Prefer": "respond-async"}).json["id"]
    for key in (MOBILE, WEB):
        assert _call(server, key, "GET", f"/jobs/{job_id}").status == 404
        assert job_id not in _listed(server, key)
    assert keyless.call("GET", f"/jobs/{job_id}").status == 200


def test_a_stream_follows_a_job_to_its_end(server: Server) -> None:
    job_id = _later(server, MOBILE)
    answer = _call(server, MOBILE, "GET", f"/jobs/{job_id}", Accept="text/event-stream")
    assert answer.status == 200
    assert b"event: succeeded\n" in answer.body


def test_a_failed_job_is_delivered_again_for_its_caller(server: Server) -> None:
    job_id = _later(server, MOBILE, b"no picture")
    assert _finished(server, MOBILE, job_id)["error"]["code"] == 422
    assert _call(server, MOBILE, "POST", f"/jobs/{job_id}/retry").status == 202
    assert _finished(server, MOBILE, job_id)["attempts"] == 1


@pytest.mark.parametrize("prefer", ["respond-async", "return=minimal"], ids=["later", "at once"])
def test_an_idempotency_key_is_its_caller_s(server: Server, prefer: str) -> None:
    """Another caller may have the same one, for another request."""
    name = f"{prefer}-1"
    asked = {"Prefer": prefer, "Idempotency_Key": name}
    mobile, web = (_call(server, key, "POST", "/infer", PICTURE, **asked) for key in (MOBILE, WEB))
    assert mobile.status == web.status == (202 if prefer == "respond-async" else 200)
    if prefer == "respond-async":
        assert mobile.headers["Location"] != web.headers["Location"]
        again = _call(server, MOBILE_NEXT, "POST", "/infer", PICTURE, **asked)
        assert again.headers["Location"] == mobile.headers["Location"]
    assert _call(server, MOBILE, "POST", "/infer", png(9, 9), **asked).status == 422


@pytest.mark.parametrize("mode", ["binary", "structured", "batched"])
def test_an_event_of_the_same_name_is_another_one_for_another_caller(server: Server, mode: str) -> None:
    """It gets its own answer, not what was kept for someone else."""
    for key, size in ((MOBILE, 10), (WEB, 30)):
        # `kindlingmadeby` counts only where no key is needed.
        asked = event(png(size, size), "image/png", id=f"same-{mode}", kindlingmadeby="mobile")
        sent = message(mode, asked)
        answers = [server.call("POST", "/events", sent.body, sent.headers | bearer(key)) for _ in range(2)]
        assert [each.status for each in answers] == [200, 200]
        assert answers[0].body == answers[1].body
        (job,) = [
            each for each in _call(server, key, "GET", "/jobs").json["jobs"] if each["event"]["id"] == f"same-{mode}"
        ]
        assert (job["made_by"], job["attempts"]) == ({MOBILE: "mobile", WEB: "web"}[key], 1)


def test_a_dead_letter_is_the_job_of_who_brings_it_and_can_be_delivered_again(server: Server) -> None:
    sent = message("binary", event(PICTURE, "image/png", id="dead", knativeerrorcode="503"))
    assert server.call("POST", "/dead-letters", sent.body, sent.headers | bearer(WEB)).status == 204
    (job,) = [
        each for each in _call(server, WEB, "GET", "/jobs?status=failed").json["jobs"] if each["event"]["id"] == "dead"
    ]
    assert job["id"] not in _listed(server, MOBILE)
    assert _call(server, WEB, "POST", f"/jobs/{job['id']}/retry").status == 202
    assert _finished(server, WEB, job["id"])["status"] == "succeeded"


def _event_of(got: Received) -> dict[str, str]:
    return {name: value for name, value in got.headers.items() if name.startswith(("ce-", "content-type"))}


def test_a_worker_without_keys_computes_what_a_broker_delivers(serve: Serve, tiny_onnx: Path, tmp_path: Path) -> None:
    """The event tells the worker whose job it is; and so does a dead letter."""
    with listening() as broker, with_broker(tiny_onnx, tmp_path, broker, API_KEYS=API_KEYS) as side:
        worker = serve(tiny_onnx, DATABASE_URL=f"sqlite:///{tmp_path}/jobs.sqlite", EMBEDDED_DELIVERY="false")
        job_id = _later(side.server, MOBILE)
        (got,) = broker.received
        assert got.headers["ce-kindlingmadeby"] == "mobile"
        assert "authorization" not in {name.lower() for name in got.headers}
        assert worker.call("POST", "/events", got.body, _event_of(got)).status == 200
        assert _finished(side.server, MOBILE, job_id)["status"] == "succeeded"
        assert len(worker.call("GET", "/jobs").json["jobs"]) == 1

        given_up = _later(side.server, WEB)
        dead = {**_event_of(broker.received[-1]), "ce-knativeerrorcode": "503"}
        assert worker.call("POST", "/dead-letters", PICTURE, dead).status == 204
        assert _finished(side.server, WEB, given_up)["error"]["code"] == 503
        assert _call(side.server, WEB, "POST", f"/jobs/{given_up}/retry").status == 202
        assert broker.received[-1].headers["ce-kindlingmadeby"] == "web"
        assert worker.call("POST", "/events", PICTURE, _event_of(broker.received[-1])).status == 200
        assert _finished(side.server, WEB, given_up)["status"] == "succeeded"


def test_a_name_that_no_key_has_is_refused(keyless: Server) -> None:
    sent = message("binary", event(PICTURE, "image/png", id="long", kindlingmadeby="x" * 64))
    answer = keyless.call("POST", "/events", sent.body, sent.headers)
    assert (answer.status, answer.error) == (400, "kindlingmadeby has 64 characters: wanted at most 63")


@contextmanager
def _statements(store: JobStore) -> Iterator[list[str]]:
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    engine = store.database._engine
    sa.event.listen(engine, "before_cursor_execute", note)
    yield sent
    sa.event.remove(engine, "before_cursor_execute", note)


def test_the_database_is_asked_the_same_for_a_job_of_another_caller_and_for_none(store: JobStore) -> None:
    """One query each, so there is nothing that could take longer."""
    job, _ = store.create(NewJob("/camera", "1", made_by="mobile"))
    assert store.get(job.id, "mobile") == job
    with _statements(store) as theirs:
        assert store.get(job.id, "web") is None
    with _statements(store) as absent:
        assert store.get(ABSENT, "web") is None
    assert theirs == absent
    assert len(theirs) == 1


def test_names_of_two_callers_are_never_the_same(store: JobStore) -> None:
    made = [
        store.create(NewJob("/camera", "1", fingerprint="a", idempotency_key="key", made_by=caller))
        for caller in (None, "mobile", "web")
    ]
    assert [is_new for _, is_new in made] == [True] * 3
    assert [job.source for job, _ in made] == ["/camera"] * 3
    for job, _ in made:
        assert store.find("/camera", "1", job.made_by) == job
        assert store.create(NewJob("/other", "2", idempotency_key="key", made_by=job.made_by)) == (job, False)
    begun = store.begin("/elsewhere", "1", "owner", 60, made_by="web")
    assert begun is not None
    assert [job.id for job in store.page(None, 10, None, "web")] == [begun, made[2][0].id]
    assert store.begin("/elsewhere", "1", "other", 60, made_by="web") is None
    assert len(store.page(None, 10, None)) == 4
    assert store.page(FAILED, 10, None, "web") == []


def test_a_database_from_before_the_keys_is_upgraded(database_url: str) -> None:
    store = JobStore(database_url, JOB_TTL_S)
    job, _ = store.create(NewJob("/camera", "1"))
    with store.database.transaction() as connection:
        connection.exec_driver_sql("DROP INDEX kindling_jobs_made_by")
        connection.exec_driver_sql("ALTER TABLE kindling_jobs DROP COLUMN made_by")
        connection.exec_driver_sql("UPDATE kindling_schema SET version = 2")
    store.close()
    with closing(JobStore(database_url, JOB_TTL_S)) as upgraded:
        assert upgraded.get(job.id) == job
        assert upgraded.get(job.id, "mobile") is None
        assert upgraded.create(NewJob("/camera", "1", made_by="mobile"))[1]
        indexes = {each["name"] for each in sa.inspect(upgraded.database._engine).get_indexes("kindling_jobs")}
        assert "kindling_jobs_made_by" in indexes
