"""What a caller gets through the gateway, and what the pod behind it may do."""

from collections.abc import Iterator
from typing import Any

import numpy
import pytest
import tritonclient.http as triton

from tests.cluster.knative import GATEWAY, Cluster, Route
from tests.cluster.load import COFFEE
from tests.support.pictures import png
from tests.web.test_metrics import WARM, timings

MODEL = "efficientnet_lite0"


def test_a_photo_gets_its_label(kindling: Route) -> None:
    answer = kindling.call("POST", "/infer?top=1", COFFEE)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert list(timings(answer))[-5:] == WARM
    (best,) = answer.json["labels"]
    assert answer.json == {"model": MODEL, "labels": [best]}
    assert best == {"label": "espresso", "index": 967, "probability": pytest.approx(0.8, abs=0.2)}


def test_an_error_reaches_the_caller_as_it_is(kindling: Route) -> None:
    answer = kindling.call("POST", "/infer", b"no picture")
    assert (answer.status, answer.error) == (422, "not a picture: wanted JPEG, PNG, WebP or AVIF")


@pytest.mark.parametrize(
    ("path", "size_mib", "status"), [("/infer", 40, 413), ("/infer?top=none", 10, 400), ("/nowhere", 10, 404)]
)
def test_a_refusal_reaches_a_caller_who_still_sends(kindling: Route, path: str, size_mib: int, status: int) -> None:
    """Three proxies are in between, and each tells 502 when the next one hangs up on it."""
    for _ in range(3):
        answer = kindling.call("POST", path, bytes(size_mib * 2**20))
        assert answer.status == status, answer.body
        assert answer.error


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    connected = triton.InferenceServerClient(f"{GATEWAY[0]}:{GATEWAY[1]}", concurrency=4)
    yield connected
    connected.close()


def _pictures(*encoded: bytes) -> Any:
    tensor = triton.InferInput("image", [len(encoded)], "BYTES")
    tensor.set_data_from_numpy(numpy.array(encoded, dtype=object))
    return tensor


def test_tritonclient_works_through_the_gateway(kindling: Route, client: Any) -> None:
    host = {"Host": kindling.host}
    assert client.is_server_ready(headers=host)
    assert client.is_model_ready(MODEL, headers=host)
    outputs = [triton.InferRequestedOutput("probabilities", class_count=1)]
    result = client.infer(MODEL, [_pictures(COFFEE, png(40, 30))], outputs=outputs, request_id="seven", headers=host)
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("seven", MODEL, "1")
    rows = result.as_numpy("probabilities")
    assert rows.shape == (2, 1)
    score, index, label = rows[0, 0].decode().split(":")
    assert (index, label) == ("967", "espresso")
    assert float(score) > 0.5


@pytest.fixture
def pod(cluster: Cluster, kindling: Route) -> str:
    """The name of a pod that runs."""
    assert kindling.call("GET", "/v2/health/ready").status == 200
    return str(cluster.pods()[0].metadata.name)


def test_the_pod_runs_as_nobody_without_privileges(cluster: Cluster, pod: str) -> None:
    assert cluster.run(pod, "id", "-u") == (0, "65532\n")
    code, words = cluster.run(pod, "cat", "/proc/1/status")
    status = dict(line.split(":\t", 1) for line in words.splitlines())
    assert code == 0
    assert status["Uid"].split() == ["65532"] * 4
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert (kind, int(status[kind], 16)) == (kind, 0)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


@pytest.mark.parametrize("folder", ["/", "/app", "/usr", "/home", "/tmp", "/var/tmp"])
def test_the_pod_cannot_write_to_its_image(cluster: Cluster, pod: str, folder: str) -> None:
    code, words = cluster.run(pod, "touch", f"{folder}/kindling")
    assert code == 1
    assert words.strip().endswith("Read-only file system")


def test_the_pod_can_write_to_shared_memory_alone(cluster: Cluster, pod: str) -> None:
    script = "echo said >/dev/shm/said && cat /dev/shm/said && rm /dev/shm/said"
    assert cluster.run(pod, "sh", "-c", script) == (0, "said\n")


def test_the_pod_knows_nothing_of_its_cluster(cluster: Cluster, pod: str) -> None:
    code, words = cluster.run(pod, "ls", "/var/run/secrets")
    assert code == 2
    assert "No such file or directory" in words
    (found,) = (each for each in cluster.pods() if each.metadata.name == pod)
    assert found.spec.automount_service_account_token is False
    code, words = cluster.run(pod, "env")
    assert code == 0
    # Of the API's own Service kubernetes tells every pod; of no other.
    addresses = {line.partition("_SERVICE_HOST=")[0] for line in words.splitlines() if "_SERVICE_HOST=" in line}
    assert addresses == {"KUBERNETES"}
