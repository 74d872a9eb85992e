"""Events and jobs on the real Broker: every request is answered once, whatever happens to the pods."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from kubernetes import client

from tests.cluster.asynchronous import COMPLETED, Async, deployed
from tests.cluster.load import LABEL, SMALL
from tests.support.eventually import eventually
from tests.support.serving import Answer

MODEL = "efficientnet_lite0"
# Another delivery of the event is being computed; no room; the database or the model is not there in time.
DELIVERED_AGAIN = (409, 429, 503)
# On two cores, with wakes and retries; a lease that a dead pod held is over after 15 s, and a broker that was told 409
# comes again after 0.2, 0.4, ... 12.8, 25.6 s.
ANSWERED_S = 60
FLOOD, KILLS, STORM, BURST = 300, 3, 200, 500
FLOOD_S = 180
ASLEEP_S = 15 + 30 + 30 + 30


@pytest.fixture(scope="module")
def kindling(api: client.ApiClient, image: str) -> Iterator[Async]:
    """overlays/kind-async, and a recorder of all replies."""
    with deployed(api, image, SMALL) as kindling:
        yield kindling


@pytest.fixture
def asleep(kindling: Async) -> None:
    """No pod of either service."""
    for service in ("kindling", "kindling-worker"):
        eventually(partial(_has_no_pods, kindling, service), ASLEEP_S, f"{service} asleep")


def _has_no_pods(kindling: Async, service: str) -> bool:
    return not kindling.cluster.all_pods(service)


def _later(kindling: Async, path: str, body: bytes, headers: dict[str, str] | None = None) -> str:
    """The path of the job that was made of a request."""
    asked = kindling.route.call("POST", path, body, {"Prefer": "respond-async", **(headers or {})})
    assert (asked.status, asked.headers["Preference-Applied"]) == (202, "respond-async")
    assert asked.headers["Location"] == f"/jobs/{asked.json['id']}"
    return asked.headers["Location"]


def _result(kindling: Async, job: str) -> Answer:
    """The result of a job, waited for as a caller would."""

    def is_final() -> bool:
        status = kindling.route.call("GET", job, headers={"Prefer": "wait=10"}).json["status"]
        assert status in ("queued", "running", "succeeded")
        return bool(status == "succeeded")

    eventually(is_final, ANSWERED_S, f"{job} succeeded")
    return kindling.route.call("GET", f"{job}/result")


def _replies(kindling: Async, *ids: str) -> list[dict[str, Any]]:
    """A reply to each of these, and no second one."""
    eventually(lambda: len(kindling.replies(ids)) >= len(ids), ANSWERED_S, "replies")
    return kindling.replies(ids)


def _replied(kindling: Async, ids: list[str]) -> set[str]:
    return {each["attributes"]["requestid"] for each in kindling.replies(ids)}


@contextmanager
def _flood(kindling: Async, ids: list[str]) -> Iterator[Callable[[], int]]:
    """Sends these events during the block, which is told how many have succeeded; in the end all of them have."""
    before = len(kindling.jobs("succeeded"))

    def done() -> int:
        return len(kindling.jobs("succeeded")) - before

    with ThreadPoolExecutor(1) as sender:
        sending = sender.submit(kindling.send, *ids)
        yield done
        sending.result()
    eventually(lambda: done() == len(ids), FLOOD_S, "all succeeded")


def _are(done: Callable[[], int], many: int) -> bool:
    return done() >= many


def _labels(replies: list[dict[str, Any]]) -> set[str]:
    return {json.loads(each["data"])["labels"][0]["label"] for each in replies}


def test_an_event_is_answered_by_an_event(kindling: Async) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    kindling.send("one", attributes={"subject": "door", "traceparent": trace})
    (reply,) = _replies(kindling, "one")
    attributes = reply["attributes"]
    assert attributes["type"] == COMPLETED
    assert (attributes["requestid"], attributes["requestsource"]) == ("one", "/camera")
    assert (attributes["source"], attributes["subject"]) == (f"/v2/models/{MODEL}", "door")
    # The trace goes on; on its way the Broker is a part of it.
    assert attributes["traceparent"].split("-")[1] == trace.split("-")[1]
    assert _labels([reply]) == {LABEL}


def test_the_same_event_is_computed_once_and_answered_with_the_same_reply(kindling: Async) -> None:
    for _ in range(2):
        kindling.send("twice")
    eventually(lambda: len(kindling.replies(["twice"])) == 2, ANSWERED_S, "two replies")
    one, other = kindling.replies(["twice"])
    for reply in (one, other):
        del reply["attributes"]["knativearrivaltime"]  # the Broker's own
    assert one == other


def test_a_request_for_later_has_its_result_in_the_database(kindling: Async) -> None:
    answer = _result(kindling, _later(kindling, "/infer?top=1", SMALL))
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    (label,) = answer.json["labels"]
    assert label["label"] == LABEL


def test_what_only_headers_say_travels_with_the_event(kindling: Async) -> None:
    """A Broker passes no headers on: the length of the JSON in front of binary tensors is an attribute."""
    data = len(SMALL).to_bytes(4, "little") + SMALL
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(data)}}
    top = {"name": "probabilities", "parameters": {"classification": 1}}
    header = json.dumps({"id": "mine", "inputs": [tensor], "outputs": [top]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(header)), "Content-Type": "application/octet-stream"}
    answer = _result(kindling, _later(kindling, f"/v2/models/{MODEL}/infer", header + data, headers))
    assert answer.json["id"] == "mine"
    assert answer.json["outputs"][0]["data"][0].endswith(LABEL)


def test_a_poisonous_event_is_buried_once_and_says_why(kindling: Async) -> None:
    before = kindling.answered()
    kindling.send("poison")
    eventually(lambda: kindling.answered()["/dead-letters", 204] > 0, ANSWERED_S, "a dead letter")
    (job,) = kindling.jobs("failed")
    assert job["error"] == {"code": 422, "message": "not a picture: wanted JPEG, PNG, WebP or AVIF"}
    assert job["attempts"] == 1
    assert kindling.answered() - before == {("/events", 422): 1, ("/dead-letters", 204): 1}
    assert kindling.replies(["poison"]) == []


def test_an_event_that_is_too_large_for_the_worker_is_buried_and_says_why(kindling: Async) -> None:
    """Its copy for the dead letter sink is as large as itself."""
    before = kindling.answered()
    kindling.send("large")
    eventually(
        lambda: kindling.answered()["/dead-letters", 204] > before["/dead-letters", 204], ANSWERED_S, "a dead letter"
    )
    (job,) = (each for each in kindling.jobs("failed") if each["event"] == {"source": "/camera", "id": "large"})
    assert job["error"]["code"] == 413
    assert "the body is more than 10485760 bytes" in job["error"]["message"]
    assert kindling.answered() - before == {("/events", 413): 1, ("/dead-letters", 204): 1}
    again = kindling.route.call("POST", f"/jobs/{job['id']}/retry")
    assert (again.status, again.error) == (409, "this job cannot be sent again: its request is not kept")


@pytest.mark.usefixtures("asleep")
def test_both_services_wake_for_a_request_for_later(kindling: Async) -> None:
    job = _later(kindling, "/infer?top=1", SMALL)
    # The Broker has answered before its subscriber did: else the request would wait for its own job.
    assert kindling.cluster.ready_pods("kindling-worker") == []
    assert _result(kindling, job).json["labels"][0]["label"] == LABEL


def test_killed_workers_lose_no_event_and_answer_each_once(kindling: Async) -> None:
    ids = [f"flood-{number}" for number in range(FLOOD)]
    with _flood(kindling, ids) as done:
        for kill in range(1, KILLS + 1):
            eventually(partial(_are, done, kill * FLOOD // 6), FLOOD_S, "events are computed")
            for pod in kindling.cluster.pods("kindling-worker"):
                kindling.cluster.kill_pod(pod)
    assert kindling.jobs("queued") + kindling.jobs("running") == []
    assert max(job["attempts"] for job in kindling.jobs("succeeded")) > 1
    eventually(lambda: _replied(kindling, ids) == {*ids}, FLOOD_S, "replies")
    # A reply may come twice, when its pod died before the Broker knew of it; it is the same one.
    replies = kindling.replies(ids)
    assert len({(each["attributes"]["requestid"], each["attributes"]["id"], each["data"]) for each in replies}) == FLOOD
    assert _labels(replies) == {LABEL}


def test_a_database_that_dies_loses_no_job(kindling: Async) -> None:
    database = kindling.cluster.core.read_namespaced_pod("kindling-postgres-0", kindling.cluster.namespace)
    with _flood(kindling, [f"storm-{number}" for number in range(STORM)]) as done:
        eventually(partial(_are, done, STORM // 6), FLOOD_S, "events are computed")
        kindling.cluster.kill_pod(database)


@pytest.mark.usefixtures("asleep")
def test_a_burst_brings_more_workers_and_then_none(kindling: Async) -> None:
    ids = [f"burst-{number}" for number in range(BURST)]
    with _flood(kindling, ids):
        eventually(lambda: len(kindling.cluster.ready_pods("kindling-worker")) >= 2, FLOOD_S, "a second worker")
    # An answer that the Broker does not take for an event it would count as 502, and send the event again.
    eventually(lambda: kindling.answered()["/events", 200] >= BURST, ANSWERED_S, "all counted")
    assert {status for _, status in kindling.answered()} <= {200, *DELIVERED_AGAIN}
    eventually(lambda: _replied(kindling, ids) == {*ids}, ANSWERED_S, "replies")
    eventually(lambda: kindling.cluster.pods("kindling-worker") == [], ASLEEP_S, "asleep")
