"""Asleep at zero pods, awake with the first request, asleep again."""

import time

import pytest

from tests.cluster.conftest import kind_overlay
from tests.cluster.knative import Cluster, Route
from tests.cluster.load import COFFEE, LABEL, burst, label
from tests.support.eventually import eventually
from tests.web.test_metrics import COLD, WARM, timings

CLIENTS = 8
# The window of 15 s has passed without a request, and Knative waits up to 30 s until its activator is surely in the way
# (scale-to-zero-grace-period); the rest is for a machine that does other things meanwhile.
ASLEEP_S = 15 + 30 + 15
# A pod on its way out waits 30 quiet seconds for late requests (queue-proxy's drainSleepDuration).
GONE_S = 30 + 15
# A wake, on two cores that others use.
AWAKE_S = 30


@pytest.fixture(scope="module")
def crowd(cluster: Cluster, image: str) -> Route:
    """A second service, so that two wakes need one sleep."""
    manifest = kind_overlay(image)
    manifest["metadata"]["name"] = "crowd"
    cluster.apply(manifest)
    return cluster.wait_ready("crowd")


@pytest.mark.usefixtures("crowd")
def test_without_requests_no_pod_is_left(cluster: Cluster, kindling: Route) -> None:
    assert label(kindling.call("POST", "/infer?top=1", COFFEE)) == LABEL
    eventually(lambda: not cluster.pods(), ASLEEP_S, "asleep")
    service = cluster.service()
    assert cluster.condition(service)["status"] == "True"
    active = cluster.condition(cluster.revision(service["status"]["latestReadyRevisionName"]), "Active")
    assert (active["status"], active["reason"]) == ("False", "NoTraffic")
    eventually(lambda: not cluster.all_pods(), GONE_S, "gone")


def test_a_request_at_zero_is_held_and_answered(cluster: Cluster, kindling: Route) -> None:
    assert not cluster.all_pods()
    began = time.monotonic()
    first = kindling.call("POST", "/infer?top=1", COFFEE)
    took_ms = (time.monotonic() - began) * 1e3
    assert label(first) == LABEL
    assert took_ms < AWAKE_S * 1e3
    told = timings(first)
    assert sorted(told) == sorted([f"cold-{phase}" for phase in COLD] + WARM)
    assert list(told)[-5:] == WARM
    # The whole start was part of the wait.
    assert sum(ms for phase, ms in told.items() if phase.startswith("cold-")) + told["total"] <= took_ms
    second = kindling.call("POST", "/infer?top=1", COFFEE)
    assert label(second) == LABEL
    assert list(timings(second)) == WARM
    (pod,) = cluster.pods()
    assert "first answer; since process start: " in cluster.logs(pod.metadata.name)


def test_clients_that_come_together_at_zero_are_all_answered(cluster: Cluster, crowd: Route) -> None:
    eventually(lambda: not cluster.all_pods("crowd"), GONE_S, "crowd gone")
    began = time.monotonic()
    answers = burst(crowd, CLIENTS)
    assert [label(each) for each in answers] == [LABEL] * CLIENTS
    assert time.monotonic() - began < AWAKE_S
    # Whoever was answered before that pod had ever answered is told what the wait was for.
    told = [timings(each) for each in answers]
    assert any("cold-ready" in each for each in told)
    assert all(list(each)[-5:] == WARM for each in told)
