"""components/grpc: gRPC and REST at one address, through the route."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton

from tests.cluster.conftest import with_image
from tests.cluster.knative import GATEWAY, Cluster, Route
from tests.cluster.load import COFFEE, LABEL, label
from tests.cluster.test_scale_to_zero import ASLEEP_S, AWAKE_S, GONE_S
from tests.support.eventually import eventually
from tests.support.manifests import Manifest, build, knative_service, with_components

MODEL = "efficientnet_lite0"
CALLERS = 64


@pytest.fixture(scope="module")
def manifest_of_grpc(image: str, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder = tmp_path_factory.mktemp("overlay")
    return with_image(knative_service(build(with_components(folder, "grpc", overlay="kind"))), image)


@pytest.fixture(scope="module")
def route(cluster: Cluster, manifest_of_grpc: Manifest) -> Route:
    cluster.apply(manifest_of_grpc)
    return cluster.wait_ready()


@pytest.fixture(scope="module")
def client(route: Route) -> Iterator[triton.InferenceServerClient]:
    address, port = GATEWAY
    options = [("grpc.default_authority", route.host)]
    with closing(triton.InferenceServerClient(f"{address}:{port}", channel_args=options)) as client:
        yield client


def _best(client: triton.InferenceServerClient) -> str:
    """The label of the photo, by gRPC."""
    picture = triton.InferInput("image", [1], "BYTES")
    picture.set_data_from_numpy(np.array([COFFEE], dtype=object))
    wanted = triton.InferRequestedOutput("probabilities", class_count=1)
    answer: Any = client.infer(MODEL, [picture], outputs=[wanted])
    return str(answer.as_numpy("probabilities")[0][0].decode().rpartition(":")[2])


def test_both_are_answered_at_one_address(client: triton.InferenceServerClient, route: Route) -> None:
    assert client.is_server_ready()
    assert client.get_model_metadata(MODEL).name == MODEL
    assert _best(client) == LABEL
    assert label(route.call("POST", "/infer?top=1", COFFEE)) == LABEL


def test_a_call_wakes_the_service(cluster: Cluster, client: triton.InferenceServerClient, route: Route) -> None:
    assert label(route.call("POST", "/infer?top=1", COFFEE)) == LABEL
    eventually(lambda: not cluster.all_pods(), ASLEEP_S + GONE_S, "asleep")
    assert _best(client) == LABEL
    (pod,) = cluster.pods()
    assert "first answer; since process start: " in cluster.logs(pod.metadata.name)


def test_many_callers_at_once_are_all_answered(client: triton.InferenceServerClient) -> None:
    with ThreadPoolExecutor(CALLERS) as pool:
        found = Counter(pool.map(lambda _: _best(client), range(2 * CALLERS)))
    assert found == {LABEL: 2 * CALLERS}


def test_a_new_revision_takes_over_and_fails_no_call(
    cluster: Cluster, client: triton.InferenceServerClient, manifest_of_grpc: Manifest
) -> None:
    """The old pods finish what they have, and tell the proxies to open no more requests there."""
    answers: Counter[str] = Counter()
    stopping = threading.Event()

    def ask_on() -> None:
        while not stopping.is_set():
            try:
                answers[_best(client)] += 1
            except triton.InferenceServerException as fault:
                answers[str(fault)] += 1

    before = str(cluster.service()["status"]["latestReadyRevisionName"])
    threads = [threading.Thread(target=ask_on) for _ in range(4)]
    for each in threads:
        each.start()
    try:
        manifest_of_grpc["spec"]["template"]["spec"]["containers"][0]["env"].append(
            {"name": "LOG_LEVEL", "value": "debug"}
        )
        cluster.apply(manifest_of_grpc)
        cluster.wait_ready()
        asked = answers.total()
        eventually(lambda: answers.total() >= asked + 50, AWAKE_S, "50 answers by the new revision")
        eventually(
            lambda: before not in {pod.metadata.labels["serving.knative.dev/revision"] for pod in cluster.all_pods()},
            90,
            "the old pods gone",
        )
    finally:
        stopping.set()
        for each in threads:
            each.join()
    assert set(answers) == {LABEL}
