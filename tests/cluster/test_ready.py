"""knative/ready on a real cluster: why the first revision does not become ready, and why a later one does not."""

import time

from tests.cluster.knative import Cluster, Route
from tests.cluster.load import COFFEE, LABEL, label
from tests.support.manifests import Manifest
from tests.support.ready import running

NOWHERE = "no artifact in /nowhere"
# A pod is made, and its container is tried twice.
FAILED_S = 60.0


def _named(manifest: Manifest, name: str) -> Manifest:
    manifest["metadata"]["name"] = name
    return manifest


def _container(manifest: Manifest) -> Manifest:
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    return container  # type: ignore[no-any-return]


def _set(manifest: Manifest, name: str, value: str) -> Manifest:
    env = _container(manifest)["env"]
    env[:] = [each for each in env if each["name"] != name] + [{"name": name, "value": value}]
    return manifest


def test_a_first_deployment_whose_image_is_missing(cluster: Cluster, manifest: Manifest) -> None:
    _container(manifest)["image"] = "dev.local/kindling:missing"
    cluster.apply(_named(manifest, "missing"))
    with running("missing", cluster.namespace) as ready:
        ready.says("waiting for missing: ErrImagePull: ")
        assert ready.ends() == 1
    assert ready.lines[-1].startswith("missing is not served: ErrImagePull: ")
    assert "dev.local/kindling:missing" in ready.lines[-1]


def test_a_first_deployment_of_a_model_that_is_not_there(cluster: Cluster, manifest: Manifest) -> None:
    cluster.apply(_set(_named(manifest, "nowhere"), "MODEL_DIR", "/nowhere"))
    began = time.monotonic()
    with running("nowhere", cluster.namespace) as ready:
        assert ready.ends() == 1
    assert time.monotonic() - began < FAILED_S
    assert "nowhere is not served: container kindling ended with exit code 2:" in ready.lines
    assert NOWHERE in ready.lines[-1]


def test_a_later_revision_that_fails_leaves_the_one_before(
    cluster: Cluster, kindling: Route, manifest: Manifest
) -> None:
    before = cluster.service()["status"]["latestReadyRevisionName"]
    cluster.apply(_set(manifest, "MAX_QUEUE_SIZE", "none"))
    with running("kindling", cluster.namespace) as ready:
        assert ready.ends() == 1
    assert "MAX_QUEUE_SIZE='none'" in ready.said
    assert ready.lines[-1] == f"    revision {before} still answers"
    assert label(kindling.call("POST", "/infer?top=1", COFFEE)) == LABEL


def test_each_reason_in_turn_until_it_comes_right(cluster: Cluster, manifest: Manifest) -> None:
    """A pod without room, then one without its Secret, then that Secret."""
    name = "in-turn"
    requests = _container(_named(manifest, name))["resources"]
    small, requests["requests"] = requests["requests"], {"cpu": "500", "memory": "1Mi"}
    limits = requests.pop("limits")
    cluster.apply(manifest)
    with running(name, cluster.namespace) as ready:
        ready.says(f"waiting for {name}: no node has room for its pod: 0/1 nodes are available: 1 Insufficient cpu.")
        requests.update(requests=small, limits=limits)
        secret = {"secretKeyRef": {"name": "late", "key": "level"}}
        _container(manifest)["env"].append({"name": "LOG_LEVEL", "valueFrom": secret})
        cluster.apply(manifest)
        ready.says(f'waiting for {name}: CreateContainerConfigError: secret "late" not found')
        cluster.apply(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "late"}, "stringData": {"level": "info"}}
        )
        assert ready.ends() == 0
    assert f"{name} is ready: http://{cluster.route(name).host}" in ready.lines
