"""One revision after the other: under load, by share of the traffic, back again, and one that is no good."""

import base64
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.cluster.conftest import with_image
from tests.cluster.knative import Cluster, Route
from tests.cluster.load import COFFEE, LABEL, Load, label
from tests.support.eventually import eventually
from tests.support.manifests import Manifest, build, knative_service, with_components

REQUESTS = 200
# The digests are right: only the model's own answer tells that it is not the one that was exported.
FORGE = """
from pathlib import Path
from model.artifact import Artifact
folder = Path("/app/artifact")
(folder / "self-test.output").write_bytes(bytes(4000))
Artifact.read(folder).write()
print((folder / "artifact.json").read_text())
"""


def _set(manifest: Manifest, name: str, value: str) -> Manifest:
    """The manifest with an environment variable more: a new revision."""
    manifest["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": name, "value": value})
    return manifest


def _traffic(cluster: Cluster) -> dict[str, int]:
    """Percentages by revision, as the route has them."""
    shares = Counter[str]()
    for each in cluster.service()["status"]["traffic"]:
        shares[each["revisionName"]] += each.get("percent", 0)
    return dict(shares)


def _latest(cluster: Cluster) -> str:
    return str(cluster.service()["status"]["latestReadyRevisionName"])


def _ask(cluster: Cluster, route: Route, requests: int) -> dict[str, int]:
    """So many photos, labelled rightly; how many of them each revision has answered."""
    before = cluster.answered()
    for _ in range(requests):
        assert label(route.call("POST", "/infer?top=1", COFFEE)) == LABEL
    shares = Counter[str]()
    for pod, count in cluster.answered().items():
        shares[pod.revision] += count - before.get(pod, 0)
    return {revision: count for revision, count in shares.items() if count}


def test_a_new_revision_takes_over_under_load_and_fails_no_request(
    cluster: Cluster, kindling: Route, manifest: Manifest
) -> None:
    old = _latest(cluster)
    with Load(kindling, COFFEE, LABEL, clients=2) as load:
        load.wait_for(20)
        cluster.apply(_set(manifest, "LOG_LEVEL", "debug"))
        cluster.wait_ready()
        new = _latest(cluster)
        load.wait_for(50)
    assert load.failed == []
    assert new != old
    assert _traffic(cluster) == {new: 100}
    assert _ask(cluster, kindling, 10) == {new: 10}


@pytest.fixture
def canary(tmp_path: Path, cluster: Cluster, image: str) -> Manifest:
    """components/canary beside the revision that is the latest one now."""
    service = with_image(knative_service(build(with_components(tmp_path, "canary"))), image)
    service["spec"]["traffic"][0]["revisionName"] = _latest(cluster)
    return _set(service, "LOG_LEVEL", "warning")


def test_a_canary_gets_its_share_and_has_an_address_of_its_own(
    cluster: Cluster, kindling: Route, canary: Manifest
) -> None:
    stable = _latest(cluster)
    cluster.apply(canary)
    cluster.wait_ready()
    new = _latest(cluster)
    assert _traffic(cluster) == {stable: 90, new: 10}
    assert _ask(cluster, cluster.route("canary-kindling"), 10) == {new: 10}
    assert _ask(cluster, cluster.route("stable-kindling"), 10) == {stable: 10}
    shares = _ask(cluster, kindling, REQUESTS)
    # Five standard deviations (4.2) on either side of 20; not one request is lost or counted twice.
    assert shares == {stable: REQUESTS - shares[new], new: pytest.approx(20, abs=21 - 1e-9)}


def test_a_canary_that_is_taken_back_gets_no_traffic(cluster: Cluster, kindling: Route, manifest: Manifest) -> None:
    before = {each["tag"]: each["revisionName"] for each in cluster.service()["status"]["traffic"]}
    manifest = _set(manifest, "LOG_LEVEL", "warning")
    manifest["spec"]["traffic"] = [{"revisionName": before["stable"], "percent": 100}]
    with Load(kindling, COFFEE, LABEL, clients=1) as load:
        cluster.apply(manifest)
        cluster.wait_ready()
        load.wait_for(10)
    assert load.failed == []
    assert _traffic(cluster) == {before["stable"]: 100}
    assert _ask(cluster, kindling, 20) == {before["stable"]: 20}


@pytest.fixture
def wrong(cluster: Cluster, image: str, manifest: Manifest) -> Manifest:
    """Our service with a self-test in its artifact that no model passes: 1000 probabilities of 0."""
    command = ["docker", "run", "--rm", "--user", "0", image, "python", "-c", FORGE]
    described = subprocess.run(command, text=True, check=True, capture_output=True).stdout
    files = {"artifact.json": described.encode(), "self-test.output": bytes(4000)}
    encoded = {name: base64.b64encode(content).decode() for name, content in files.items()}
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "wrong"}, "binaryData": encoded})
    spec = manifest["spec"]["template"]["spec"]
    spec["volumes"] = [{"name": "wrong", "configMap": {"name": "wrong"}}]
    spec["containers"][0]["volumeMounts"] = [
        {"name": "wrong", "mountPath": f"/app/artifact/{name}", "subPath": name} for name in files
    ]
    # In the base it is 120 s.
    manifest["spec"]["template"]["metadata"]["annotations"]["serving.knative.dev/progress-deadline"] = "20s"
    return manifest


def test_a_revision_that_fails_its_self_test_gets_no_traffic_and_says_why(
    cluster: Cluster, kindling: Route, wrong: Manifest
) -> None:
    old = _latest(cluster)
    with Load(kindling, COFFEE, LABEL, clients=1) as load:
        cluster.apply(wrong)
        eventually(lambda: cluster.condition(cluster.service())["status"] == "False", 60, "told that it failed")
        load.wait_for(20)
    assert load.failed == []
    service = cluster.service()
    new = service["status"]["latestCreatedRevisionName"]
    ready = cluster.condition(cluster.revision(new))
    assert (ready["status"], ready["reason"]) == ("False", "ExitCode4")
    assert "self-test failed: output probabilities differs by" in ready["message"]
    assert "self-test failed" in cluster.condition(service)["message"]
    assert _traffic(cluster) == {old: 100}
    assert not [pod for pod in cluster.ready_pods() if pod.metadata.labels["serving.knative.dev/revision"] == new]
