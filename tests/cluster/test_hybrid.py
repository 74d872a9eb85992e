"""The Deployment answers requests, and Knative's worker those that may be answered later."""

from collections.abc import Iterator

import pytest
from kubernetes import client

from tests.cluster.asynchronous import POSTGRES, UP_S, is_ready, load_postgres
from tests.cluster.conftest import with_image
from tests.cluster.deployment import Deployed, deployed, small
from tests.cluster.load import COFFEE, LABEL, label
from tests.support.eventually import eventually
from tests.support.manifests import build, knative_service, of_kind, with_components

# With a wake, and a Broker that may forget what comes first: that is published again.
ANSWERED_S = 90


@pytest.fixture(scope="module")
def kindling(api: client.ApiClient, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """overlays/hybrid with a database, and everything small."""
    folder = tmp_path_factory.mktemp("hybrid")
    manifests = small(build(with_components(folder, "jobs-postgres", "local", overlay="hybrid")), image)
    with_image(of_kind(manifests, "StatefulSet"), POSTGRES)
    with_image(knative_service(manifests, "kindling-worker"), image)
    load_postgres()
    with deployed(api, manifests) as kindling:
        kindling.cluster.wait_ready("kindling-worker")
        eventually(lambda: is_ready(kindling.cluster, "Trigger", "kindling-worker"), UP_S, "the Trigger")
        # The binding changes the Deployment, which is then rolled out once more.
        eventually(lambda: _knows_the_broker(kindling), UP_S, "K_SINK")
        kindling.wait_ready()
        eventually(lambda: kindling.route.call("GET", "/jobs").status == 200, UP_S, "a database for the jobs")
        yield kindling


def _knows_the_broker(kindling: Deployed) -> bool:
    found = kindling.cluster.get("apps/v1", "Deployment", "kindling")
    return "K_SINK" in {each["name"] for each in found["spec"]["template"]["spec"]["containers"][0]["env"]}


def test_the_deployment_answers_at_once(kindling: Deployed) -> None:
    assert label(kindling.route.call("POST", "/infer?top=1", COFFEE)) == LABEL


def test_a_request_for_later_is_computed_by_the_worker_alone(kindling: Deployed) -> None:
    route, before = kindling.route, kindling.answered()
    asked = route.call("POST", "/infer?top=1", COFFEE, {"Prefer": "respond-async"})
    assert asked.status == 202, asked.body
    job = asked.headers["Location"]

    def is_answered() -> bool:
        return bool(route.call("GET", job, headers={"Prefer": "wait=10"}).json["status"] == "succeeded")

    eventually(is_answered, ANSWERED_S, "an answer")
    assert label(route.call("GET", f"{job}/result")) == LABEL
    by_worker = kindling.cluster.requests("kindling-worker")
    # Twice where it was published again: then the second is answered with what the first was.
    assert sum(found["/events", 200] for found in by_worker.values()) >= 1
    # None of the Deployment's pods has computed it: they have neither taken the event nor run it for the request.
    assert kindling.answered() == before
    for pod in kindling.ready_pods():
        assert kindling.cluster.requests_to(pod.metadata.name)["/events", 200] == 0
