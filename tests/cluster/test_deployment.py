"""Without Knative: replicas share the requests, and pods come and go while they are asked."""

import time
from collections.abc import Iterator
from http import HTTPStatus

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from tests.cluster.deployment import REPLICAS, Deployed, deployed, overlay
from tests.cluster.load import COFFEE, LABEL, Load, label
from tests.support.eventually import eventually
from tests.support.manifests import of_kind

CLIENTS = 4
REQUESTS = 60
# preStop and the process's own end, with some time for a machine that does other things meanwhile.
GONE_S = 10 + 30
RECOVERED_S = 60


@pytest.fixture(scope="module")
def kindling(api: client.ApiClient, image: str) -> Iterator[Deployed]:
    with deployed(api, overlay(image)) as kindling:
        yield kindling


def _names(kindling: Deployed) -> set[str]:
    return {pod.metadata.name for pod in kindling.all_pods()}


def test_requests_are_spread_over_three_replicas(kindling: Deployed) -> None:
    before = kindling.answered()
    assert len(before) == REPLICAS
    for _ in range(REQUESTS):
        assert label(kindling.route.call("POST", "/infer?top=1", COFFEE)) == LABEL
    shares = {pod: count - before[pod] for pod, count in kindling.answered().items()}
    assert sum(shares.values()) == REQUESTS
    # Each connection goes to any of them, so that one has fewer than 5 in three of a million runs.
    assert min(shares.values()) >= 5


def test_a_rolling_update_under_load_fails_no_request(kindling: Deployed) -> None:
    old = _names(kindling)
    (container,) = of_kind(kindling.manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    container["env"].append({"name": "LOG_LEVEL", "value": "warning"})
    with Load(kindling.route, COFFEE, LABEL, CLIENTS) as load:
        load.wait_for(50)
        began = time.monotonic()
        kindling.apply()
        kindling.wait_ready()
        took_s = time.monotonic() - began
        eventually(lambda: not old & _names(kindling), GONE_S, "the old pods gone")
        load.wait_for(50)
    print(f"\nrolling update: {took_s:.1f} s, {len(load.asked)} requests, {len(load.failed)} failed")
    assert load.failed == []
    assert len(kindling.ready_pods()) == REPLICAS


def test_a_deleted_pod_is_replaced_and_fails_no_request(kindling: Deployed) -> None:
    with Load(kindling.route, COFFEE, LABEL, CLIENTS) as load:
        load.wait_for(50)
        deleted = kindling.ready_pods()[0].metadata.name
        kindling.cluster.delete_pod(deleted)
        eventually(lambda: deleted not in _names(kindling), GONE_S, "gone")
        kindling.wait_ready()
        load.wait_for(50)
    print(f"\ndeleted pod: {len(load.asked)} requests, {len(load.failed)} failed")
    assert load.failed == []


def test_a_killed_pod_comes_back_and_fails_only_what_it_was_sent_until_that_was_noticed(kindling: Deployed) -> None:
    with Load(kindling.route, COFFEE, LABEL, CLIENTS) as load:
        load.wait_for(50)
        killed = kindling.ready_pods()[0]
        began = time.monotonic()
        kindling.cluster.kill_pod(killed)
        eventually(lambda: len(kindling.ready_pods()) < REPLICAS, RECOVERED_S, "noticed")
        # The node has to hear of it, too: until then every third connection is refused.
        eventually(lambda: all(each.status == 200 for each in load.asked[-50:]), RECOVERED_S, "nobody sent there")
        noticed = time.monotonic()
        kindling.wait_ready()
        back_s = time.monotonic() - began
        load.wait_for(50)
    print(f"\nkilled pod: back after {back_s:.1f} s, {len(load.asked)} requests, {len(load.failed)} failed")
    assert [each for each in load.failed if each.began > noticed or each.began + each.took_s < began] == []
    assert [each for each in load.asked if each.status == 200 and began < each.began < noticed]


def test_a_second_pod_is_not_drained_before_the_first_is_replaced(kindling: Deployed) -> None:
    core, namespace = kindling.cluster.core, kindling.cluster.namespace

    def evict(pod: str) -> None:
        core.create_namespaced_pod_eviction(pod, namespace, client.V1Eviction(metadata={"name": pod}))

    first, second, _ = sorted(pod.metadata.name for pod in kindling.ready_pods())
    evict(first)
    with pytest.raises(ApiException) as refused:
        evict(second)
    assert refused.value.status == HTTPStatus.TOO_MANY_REQUESTS
    kindling.wait_ready()
