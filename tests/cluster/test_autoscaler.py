"""Without Knative: more load than three pods should have, and less again."""

import time
from collections.abc import Iterator

import pytest
from kubernetes import client

from tests.cluster.deployment import REPLICAS, Deployed, deployed, overlay, target
from tests.cluster.load import COFFEE, LABEL, Load
from tests.support import required
from tests.support.eventually import eventually
from tests.support.manifests import of_kind

# As many pods as fit on one node.
MOST = 5
CLIENTS = 4
MEASURED_S = 90
# CPU use is measured every 15 s, and the autoscaler looks as often.
MORE_PODS_S = 90
# The same, the window of 15 s, and 15 s from one pod that goes to the next.
FEWER_PODS_S = 180
METRICS = "v1beta1.metrics.k8s.io"


@pytest.fixture(scope="module")
def kindling(api: client.ApiClient, image: str) -> Iterator[Deployed]:
    """The target is a tenth of a core, and pods go soon, so that one need not wait for minutes."""
    names = {each.metadata.name for each in client.ApiregistrationV1Api(api).list_api_service().items}
    if METRICS not in names:
        missing = f"the cluster has no {METRICS}: it needs metrics-server"
        required.skip(missing, "REQUIRE_CLUSTER")
    manifests = overlay(image)
    target(manifests)["averageUtilization"] = 100
    autoscaler = of_kind(manifests, "HorizontalPodAutoscaler")["spec"]
    autoscaler["maxReplicas"] = MOST
    down = autoscaler["behavior"]["scaleDown"]
    down["stabilizationWindowSeconds"] = down["policies"][0]["periodSeconds"] = 15
    with deployed(api, manifests) as kindling:
        eventually(lambda: _is_measured(kindling), MEASURED_S, "CPU use of the pods")
        yield kindling


def _is_measured(kindling: Deployed) -> bool:
    autoscaler = kindling.cluster.get("autoscaling/v2", "HorizontalPodAutoscaler", "kindling")
    return kindling.cluster.condition(autoscaler, "ScalingActive").get("status") == "True"


def _pods(kindling: Deployed) -> int:
    return len(kindling.ready_pods())


def test_load_brings_more_replicas_that_an_apply_leaves_alone(kindling: Deployed) -> None:
    eventually(lambda: _pods(kindling) == REPLICAS, FEWER_PODS_S, "three pods")
    with Load(kindling.route, COFFEE, LABEL, CLIENTS) as load:
        began = time.monotonic()
        eventually(lambda: _pods(kindling) > REPLICAS, MORE_PODS_S, "a fourth pod")
        more_s = time.monotonic() - began
        kindling.wait_ready(MOST)
        kindling.apply()
        kindling.wait_ready(MOST)
        load.wait_for(50)
    print(f"\na fourth pod after {more_s:.1f} s, {len(load.asked)} requests, {len(load.failed)} failed")
    assert load.failed == []


def test_less_load_takes_them_away_and_fails_no_request(kindling: Deployed) -> None:
    assert _pods(kindling) > REPLICAS
    with Load(kindling.route, COFFEE, LABEL, clients=1, pause_s=0.5) as load:
        began = time.monotonic()
        eventually(lambda: _pods(kindling) == REPLICAS, FEWER_PODS_S, "three pods")
        fewer_s = time.monotonic() - began
        eventually(lambda: len(kindling.all_pods()) == REPLICAS, FEWER_PODS_S, "the others gone")
    print(f"\nthree pods after {fewer_s:.1f} s, {len(load.asked)} requests, {len(load.failed)} failed")
    assert load.failed == []
