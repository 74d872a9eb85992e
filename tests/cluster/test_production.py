"""What docs/production.md has people deploy, as the API server takes it: nothing of it is run."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes import client

from tests.cluster.knative import Cluster, own_namespace
from tests.support.eventually import eventually
from tests.support.manifests import KNATIVE, Manifest, build, knative_service
from tests.support.production import EXAMPLES, build_example

LIMITS = ("ResourceQuota", "LimitRange")
# Of a container of the restricted profile, what a RabbitMQ Broker's pods say: eventing-rabbitmq 1.22, pkg/reconciler.
OF_RABBITMQ = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
}
# And the queue-proxy: Serving 1.23, pkg/reconciler/revision/resources/queue.go.
OF_KNATIVE = {**OF_RABBITMQ, "seccompProfile": {"type": "RuntimeDefault"}}


@pytest.fixture(scope="module")
def spaces(api: client.ApiClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Cluster]]:
    """Two namespaces with production's labels and quota; the second is as components/rabbitmq changes it."""
    with own_namespace(api) as strict, own_namespace(api) as with_rabbitmq:
        _prepare(strict, build(KNATIVE / "overlays" / "production"))
        _prepare(with_rabbitmq, build_example("mine", tmp_path_factory.mktemp("mine")))
        yield strict, with_rabbitmq


def _prepare(cluster: Cluster, manifests: list[Manifest]) -> None:
    for each in manifests:
        if each["kind"] == "Namespace":
            cluster.core.patch_namespace(cluster.namespace, {"metadata": {"labels": each["metadata"]["labels"]}})
        elif each["kind"] in LIMITS:
            each["metadata"].pop("namespace")
            cluster.apply(each)


def _dry_run(cluster: Cluster, manifest: Manifest) -> subprocess.CompletedProcess[str]:
    """What the API server, with all its webhooks, would make of it; unknown fields are faults."""
    manifest["metadata"]["namespace"] = cluster.namespace
    options = ("--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "--output=json")
    command = ["kubectl", "apply", *options, "--filename=-"]
    return subprocess.run(command, input=json.dumps(manifest), capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_api_server_takes_every_example(name: str, spaces: tuple[Cluster, Cluster], tmp_path: Path) -> None:
    for each in build_example(name, tmp_path):
        # Its definition comes with a Broker that is not here: tests/knative/test_production.py has its schema.
        if each["kind"] not in ("Namespace", "RabbitmqBrokerConfig"):
            done = _dry_run(spaces[0], each)
            assert done.returncode == 0, done.stderr
            assert "Warning" not in done.stderr, done.stderr


def _pod(*containers: Manifest) -> Manifest:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "asked"}, "spec": {"containers": containers}}


def test_the_namespace_takes_a_pod_of_the_service(spaces: tuple[Cluster, Cluster]) -> None:
    """Restricted, and with a quota: with the queue-proxy beside it, which says nothing of memory."""
    service = knative_service(build(KNATIVE / "overlays" / "production"))
    (ours,) = service["spec"]["template"]["spec"]["containers"]
    # Knative adds the port to the probes.
    ours = {name: value for name, value in ours.items() if not name.endswith("Probe")}
    proxy = {
        "name": "queue-proxy",
        "image": "queue",
        "resources": {"requests": {"cpu": "25m"}},
        "securityContext": OF_KNATIVE,
    }

    def taken() -> bool:
        done = _dry_run(spaces[0], _pod(ours, proxy))
        # Until the quota has been counted for the first time.
        return done.returncode == 0 or "status unknown for quota" not in done.stderr

    eventually(taken, 30.0, "a quota")
    done = _dry_run(spaces[0], _pod(ours, proxy))
    assert done.returncode == 0, done.stderr
    asked = [each["resources"]["requests"] for each in json.loads(done.stdout)["spec"]["containers"]]
    assert asked == [ours["resources"]["requests"], {"cpu": "25m", "memory": "64Mi"}]


def test_pods_of_rabbitmq_need_the_weaker_profile(spaces: tuple[Cluster, Cluster]) -> None:
    strict, with_rabbitmq = spaces
    container = {"name": "dispatcher", "image": "dispatcher", "securityContext": OF_RABBITMQ}
    refused, taken = _dry_run(strict, _pod(container)), _dry_run(with_rabbitmq, _pod(container))
    assert "seccompProfile" in refused.stderr
    assert taken.returncode == 0, taken.stderr
