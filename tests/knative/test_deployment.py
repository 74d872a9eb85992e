"""overlays/deployment runs the container of knative/base without Knative."""

import os
import re
from itertools import pairwise
from typing import Any

import pytest

from service.settings import Settings
from tests.support.manifests import KNATIVE, Manifest, build, build_command, knative_service, of_kind

SELECTED = {"app.kubernetes.io/name": "kindling", "app.kubernetes.io/component": "inference"}

pytestmark = pytest.mark.skipif(
    build_command() is None and not os.environ.get("REQUIRE_CLUSTER"), reason="neither kustomize nor kubectl is there"
)


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return build(KNATIVE / "overlays" / "deployment")


@pytest.fixture
def deployment(manifests: list[Manifest]) -> Any:
    return of_kind(manifests, "Deployment")["spec"]


@pytest.fixture
def spec(deployment: Any) -> Any:
    return deployment["template"]["spec"]


@pytest.fixture
def container(spec: Any) -> Any:
    (only,) = spec["containers"]
    return only


@pytest.fixture(scope="module")
def knative() -> Any:
    """The pod of knative/base."""
    return knative_service(build(KNATIVE / "base"))["spec"]["template"]


def test_the_container_is_that_of_knative(spec: Any, container: Any, knative: Any) -> None:
    """Nothing of it drifts; what differs is what Knative adds itself."""
    (base,) = knative["spec"]["containers"]
    for same in ("name", "image", "env", "resources", "securityContext"):
        assert container[same] == base[same], same
    for same in ("automountServiceAccountToken", "enableServiceLinks"):
        assert spec[same] is knative["spec"][same] is False
    (port,) = container["ports"]
    assert [{"containerPort": port["containerPort"]}] == base["ports"]
    for probe in ("readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {**base[probe]["httpGet"], "port": port["name"]}
    assert {**container["livenessProbe"], "httpGet": base["livenessProbe"]["httpGet"]} == base["livenessProbe"]


def test_labels_are_those_of_knative(manifests: list[Manifest], deployment: Any, knative: Any) -> None:
    assert deployment["template"]["metadata"]["labels"] == knative["metadata"]["labels"]
    assert all(each["metadata"]["labels"] == knative["metadata"]["labels"] for each in manifests)


def test_everything_selects_these_pods_and_no_worker(manifests: list[Manifest], deployment: Any, spec: Any) -> None:
    (spread,) = spec["topologySpreadConstraints"]
    assert deployment["selector"]["matchLabels"] == SELECTED
    assert spread["labelSelector"]["matchLabels"] == SELECTED
    assert of_kind(manifests, "Service")["spec"]["selector"] == SELECTED
    assert of_kind(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == SELECTED
    worker = knative_service(build(KNATIVE / "worker"), "kindling-worker")["spec"]["template"]["metadata"]["labels"]
    assert not worker.items() >= SELECTED.items()


def test_the_service_is_public_and_reaches_the_container(manifests: list[Manifest], container: Any) -> None:
    service = of_kind(manifests, "Service")["spec"]
    (port,) = service["ports"]
    assert service["type"] == "LoadBalancer"
    assert (port["port"], port["targetPort"]) == (80, container["ports"][0]["name"])


def test_an_update_takes_no_pod_before_there_is_another(deployment: Any) -> None:
    update = deployment["strategy"]["rollingUpdate"]
    assert (deployment["strategy"]["type"], update) == ("RollingUpdate", {"maxUnavailable": 0, "maxSurge": 1})


def test_a_pod_that_goes_has_time_to_answer(spec: Any, container: Any) -> None:
    """It is forgotten, then it answers what it has, and only then it would be killed."""
    settings = Settings.from_env({each["name"]: each["value"] for each in container["env"]})
    forgotten_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert settings.request_timeout_ms / 1e3 <= settings.graceful_timeout_s
    assert forgotten_s + settings.graceful_timeout_s < spec["terminationGracePeriodSeconds"]
    assert settings.max_queue_size < settings.request_threads


def test_three_replicas_at_least_and_only_the_autoscaler_says_so(manifests: list[Manifest], deployment: Any) -> None:
    """A number in the Deployment would be set again by every `kubectl apply`, under load, too."""
    autoscaler = of_kind(manifests, "HorizontalPodAutoscaler")["spec"]
    assert "replicas" not in deployment
    assert autoscaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "kindling"}
    assert autoscaler["minReplicas"] == 3 < autoscaler["maxReplicas"]


def test_load_can_pass_the_autoscalers_target(manifests: list[Manifest], container: Any) -> None:
    """The target is a part of the request, and a pod gets no more than its limit: the one must be below the other."""
    (metric,) = of_kind(manifests, "HorizontalPodAutoscaler")["spec"]["metrics"]
    requests, limits = container["resources"]["requests"], container["resources"]["limits"]
    target = metric["resource"]["target"]["averageUtilization"] / 100 * int(requests["cpu"])
    assert target <= int(limits["cpu"]) / 2


def test_every_number_has_its_reason() -> None:
    number = re.compile(
        r" +(- )?((max|min)(Unavailable|Surge|Skew|Replicas)|averageUtilization|seconds|type: P"
        "|(progressDeadline|terminationGracePeriod|stabilizationWindow)Seconds)"
    )
    for file in (KNATIVE / "overlays" / "deployment").glob("*.yaml"):
        for before, line in pairwise(file.read_text().splitlines()):
            if number.match(line):
                assert before.lstrip().startswith("#"), f"{file.name}: {line.strip()}"
