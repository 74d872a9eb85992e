"""Browsers that follow one job: they cost no pod of their own."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from kubernetes import client

from tests.cluster.asynchronous import Async, deployed
from tests.cluster.knative import Route
from tests.cluster.load import SMALL
from tests.support.eventually import eventually

FOLLOWERS = 12
# Several of the autoscaler's panic windows of 6 s, and long enough for the pods of 12 requests in flight.
FOLLOW_S = 45
RETRY_S = 2
# Between two who begin: a dozen at the same instant is a burst, which may have a pod as any other.
ARRIVAL_S = 0.5
ALONE_S = 120
# A job that nobody delivers: it stays queued.
STUCK = (
    "import os; from service.jobs.job import NewJob; from service.jobs.store import JobStore; "
    "print(JobStore(os.environ['DATABASE_URL'], 600).create(NewJob('/nobody', 'followed'))[0].id)"
)


@pytest.fixture(scope="module")
def kindling(api: client.ApiClient, image: str) -> Iterator[Async]:
    with deployed(api, image, SMALL) as kindling:
        yield kindling


def test_a_dozen_followers_of_a_queued_job_add_no_pod(kindling: Async) -> None:
    # The first revision, of before the SinkBinding, goes meanwhile.
    eventually(lambda: _is_alone(kindling), ALONE_S, "one pod")
    (pod,) = kindling.cluster.ready_pods("kindling")
    code, job_id = kindling.cluster.run(pod.metadata.name, "python", "-c", STUCK)
    assert code == 0, job_id
    end, most = time.monotonic() + FOLLOW_S, 0
    with ThreadPoolExecutor(FOLLOWERS) as pool:
        following = [
            pool.submit(_follow, kindling.route, job_id.strip(), index * ARRIVAL_S, end) for index in range(FOLLOWERS)
        ]
        while not all(each.done() for each in following):
            most = max(most, len(kindling.cluster.pods("kindling")))
            time.sleep(0.5)
    assert {status for each in following for status in each.result()} == {"queued", "reconnect"}
    assert most == 1


def _is_alone(kindling: Async) -> bool:
    """Whether one pod is awake, and no other one on its way out."""
    assert kindling.route.call("GET", "/jobs").status == 200
    return len(kindling.cluster.all_pods("kindling")) == 1


def _follow(route: Route, job_id: str, after_s: float, end: float) -> set[str]:
    """The names of the events that a browser's EventSource is told until `end`: it comes again after every end."""
    told, last = set(), ""
    time.sleep(after_s)
    while time.monotonic() < end:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        answer = route.call("GET", f"/jobs/{job_id}", headers=headers)
        assert answer.status == 200, answer
        for line in answer.body.decode().splitlines():
            name, _, value = line.partition(": ")
            if name == "event":
                told.add(value)
            elif name == "id":
                last = value
        time.sleep(RETRY_S)
    return told
