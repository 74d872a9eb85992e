"""Jobs that a broker delivers (K_SINK): published, computed once however often it delivers, given up, sent again."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.broker import Received, Side, listening, with_broker
from tests.support.eventually import eventually
from tests.support.jobs import PICTURE, WAIT_S, finished, later, listed, post, runs, view

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
REQUESTED = "dev.kindling.inference.requested"


@pytest.fixture
def side(tiny_onnx: Path, tmp_path: Path) -> Iterator[Side]:
    overrides = '{"extensions": {"colour": "blue"}}'
    with listening() as broker, with_broker(tiny_onnx, tmp_path, broker, K_CE_OVERRIDES=overrides) as found:
        yield found


def test_a_request_is_published_and_its_delivery_makes_the_result(side: Side) -> None:
    at_once = post(side.server, path="/infer?top=2")
    job_id = later(side.server, path="/infer?top=2", Content_Type="image/png", traceparent=TRACE, tracestate="a=1")
    (got,) = side.broker.received
    assert got.body == PICTURE
    attributes = {name: value for name, value in got.headers.items() if name.startswith("ce-")}
    assert attributes.pop("ce-time")
    assert attributes == {
        "ce-specversion": "1.0", "ce-id": job_id, "ce-source": "/v2/models/tiny/jobs", "ce-type": REQUESTED,
        "ce-inferprotocol": "image", "ce-infermodel": "tiny", "ce-infertop": "2", "ce-traceparent": TRACE,
        "ce-tracestate": "a=1", "ce-colour": "blue",
    }  # fmt: skip
    assert got.headers["content-type"] == "image/png"
    assert view(side.server, job_id)["status"] == "queued"
    delivered = side.deliver()
    assert (delivered.status, delivered.body) == (200, at_once.body)
    assert (delivered.headers["Ce-Requestid"], delivered.headers["Ce-Traceparent"]) == (job_id, TRACE)
    job = finished(side.server, job_id)
    assert (job["status"], job["attempts"], job["result"]) == ("succeeded", 1, at_once.json)


def test_who_waits_gets_the_result_when_the_broker_has_delivered(side: Side) -> None:
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, side.server, Prefer=f"wait={WAIT_S}")
        eventually(lambda: bool(side.broker.received), WAIT_S)
        assert side.deliver().status == 200
        assert answer.result().status == 200


def test_an_event_delivered_again_is_answered_by_the_same_event_and_computed_once(side: Side) -> None:
    later(side.server)
    before = runs(side.server)
    first = side.deliver()
    with ThreadPoolExecutor(8) as pool:
        answers = [first, *pool.map(lambda _: side.deliver(), range(16))]
    assert {(answer.status, answer.headers["Ce-Id"], answer.body) for answer in answers} == {
        (200, first.headers["Ce-Id"], first.body)
    }
    assert runs(side.server) == before + 1


def test_an_event_delivered_many_times_at_once_is_computed_once(side: Side) -> None:
    later(side.server)
    before, together = runs(side.server), threading.Barrier(8, timeout=WAIT_S)

    def deliver(_: int) -> int:
        together.wait()
        return side.deliver().status

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(deliver, range(8)))
    assert 200 in statuses
    assert set(statuses) <= {200, 409}
    assert side.deliver().status == 200
    assert runs(side.server) == before + 1


def test_an_event_of_somebody_else_is_computed_once_too(side: Side) -> None:
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "7",
        "ce-source": "/camera",
        "ce-type": "taken",
        "Content-Type": "image/png",
    }
    before = runs(side.server)
    answers = [side.server.call("POST", "/", PICTURE, headers) for _ in range(3)]
    assert len({(answer.status, answer.headers["Ce-Id"], answer.body) for answer in answers}) == 1
    assert runs(side.server) == before + 1
    (job,) = listed(side.server)
    assert job["status"] == "succeeded"


def test_a_cancelled_job_is_not_computed_when_its_event_comes(side: Side) -> None:
    job_id, before = later(side.server), runs(side.server)
    cancelled = side.server.call("DELETE", f"/jobs/{job_id}")
    assert (cancelled.status, cancelled.json["status"]) == (200, "cancelled")
    delivered = side.deliver()
    assert (delivered.status, delivered.body) == (204, b"")
    result = side.server.call("GET", f"/jobs/{job_id}/result")
    assert (result.status, result.error) == (409, "the job was cancelled")
    assert runs(side.server) == before


def test_a_key_whose_job_was_cancelled_is_told_so(side: Side) -> None:
    job_id = later(side.server, Idempotency_Key="key")
    assert side.server.call("DELETE", f"/jobs/{job_id}").status == 200
    for prefer in ("", "respond-async"):
        answer = post(side.server, Idempotency_Key="key", Prefer=prefer)
        assert (answer.status, answer.error) == (409, "the job was cancelled")


def test_a_job_that_waits_for_its_event_is_computed_at_once_for_who_asks_with_its_key(side: Side) -> None:
    job_id = later(side.server, Idempotency_Key="key")
    before = runs(side.server)
    at_once = post(side.server, Idempotency_Key="key")
    assert at_once.status == 200
    assert finished(side.server, job_id)["status"] == "succeeded"
    assert side.deliver().body == at_once.body
    assert runs(side.server) == before + 1


def test_a_dead_letter_fails_its_job_which_can_be_sent_again(side: Side) -> None:
    job_id = later(side.server)
    side.bury(503, b'{"error":"the model is still loading"}')
    job = finished(side.server, job_id)
    assert (job["status"], job["error"]) == ("failed", {"code": 503, "message": "the model is still loading"})
    assert side.server.call("GET", f"/jobs/{job_id}/result").status == 503
    again = side.server.call("POST", f"/jobs/{job_id}/retry")
    assert (again.status, again.json["status"], again.json["attempts"]) == (202, "queued", 0)
    first, second = side.broker.received
    assert second == Received(first.path, {**second.headers, "ce-id": job_id}, first.body)
    assert {name: value for name, value in second.headers.items() if name.startswith("ce-")} == {
        name: value for name, value in first.headers.items() if name.startswith("ce-")
    }
    assert side.deliver().status == 200
    assert finished(side.server, job_id)["status"] == "succeeded"


def test_a_dead_letter_of_somebody_else_can_be_sent_again_too(side: Side) -> None:
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "7",
        "ce-source": "/camera",
        "ce-type": "taken",
        "ce-knativeerrorcode": "500",
    }
    assert side.server.call("POST", "/dead-letters", PICTURE, headers | {"Content-Type": "image/png"}).status == 204
    (job,) = listed(side.server, "?status=failed")
    assert side.server.call("POST", f"/jobs/{job['id']}/retry").status == 202
    assert (side.broker.received[0].event_id, side.broker.received[0].body) == ("7", PICTURE)
    assert side.deliver().status == 200
    assert finished(side.server, job["id"])["status"] == "succeeded"


def test_a_dead_letter_after_the_result_changes_nothing(side: Side) -> None:
    job_id = later(side.server)
    assert side.deliver().status == 200
    side.bury(504, b"")
    assert finished(side.server, job_id)["status"] == "succeeded"
