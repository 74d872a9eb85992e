"""A pod goes, gracefully or not, while it is asked."""

import subprocess
import time
from typing import Any

import pytest

from tests.cluster.conftest import kind_overlay
from tests.cluster.knative import Cluster, Route
from tests.cluster.load import COFFEE, LABEL, Load
from tests.support.eventually import eventually

CLIENTS = 4
# Of a pod that was deleted: 30 quiet seconds, in which late requests are answered, and its own end, before it is killed
# (terminationGracePeriodSeconds, which is timeoutSeconds).
GONE_S = 30 + 20
RECOVERED_S = 30


@pytest.fixture(scope="module")
def kindling(cluster: Cluster, image: str) -> Route:
    """One pod at most: when it goes there is none."""
    manifest = kind_overlay(image)
    manifest["spec"]["template"]["metadata"]["annotations"]["autoscaling.knative.dev/max-scale"] = "1"
    cluster.apply(manifest)
    return cluster.wait_ready()


def test_a_pod_that_is_deleted_under_load_fails_no_request(cluster: Cluster, kindling: Route) -> None:
    """It answers what it has; what comes then is held until another one is ready."""
    with Load(kindling, COFFEE, LABEL, CLIENTS) as load:
        load.wait_for(20)
        (deleted,) = (pod.metadata.name for pod in cluster.pods())
        cluster.delete_pod(deleted)
        eventually(lambda: deleted not in {pod.metadata.name for pod in cluster.all_pods()}, GONE_S, "gone")
        load.wait_for(20)
    assert load.failed == []


def test_killing_the_process_that_serves_fails_only_what_it_had(cluster: Cluster, kindling: Route) -> None:
    """As the kernel does when memory is short. The process above it keeps the door open and starts another one."""
    kill = "worker=$(cat /proc/1/task/1/children); kill -KILL $worker; while [ -e /proc/$worker ]; do :; done"
    with Load(kindling, COFFEE, LABEL, CLIENTS) as load:
        load.wait_for(20)
        (pod,) = (each.metadata.name for each in cluster.pods())
        began = time.monotonic()
        assert cluster.run(pod, "sh", "-c", kill) == (0, "")
        ended = time.monotonic()
        # Its counters begin at 0 again.
        eventually(lambda: _answered(cluster, pod) > 10, RECOVERED_S, "answers by the same pod")
    assert {each.status for each in load.failed} <= {502}
    assert [each for each in load.failed if each.began > ended or each.began + each.took_s < began] == []
    assert len(load.failed) <= CLIENTS
    assert "was sent SIGKILL" in cluster.logs(pod)


def _answered(cluster: Cluster, name: str) -> int:
    return sum(count for pod, count in cluster.answered().items() if pod.name == name)


def _container(pod: Any) -> Any:
    """The state of the service's container."""
    (found,) = (each for each in pod.status.container_statuses if each.name == "kindling")
    return found


def _kill_container(pod: Any) -> None:
    """SIGKILL to the first process of the service's container, from the node: inside it is out of reach."""
    container = _container(pod).container_id.partition("://")[2]
    script = (
        f"for p in $(grep -ls {container} /proc/[0-9]*/cgroup | cut -d/ -f3); do"
        ' if grep -q "^NSpid:.*[[:space:]]1$" /proc/$p/status; then kill -KILL $p; fi; done'
    )
    subprocess.run(["docker", "exec", pod.spec.node_name, "sh", "-c", script], check=True, capture_output=True)


def test_killing_the_container_fails_requests_only_until_it_is_back(cluster: Cluster, kindling: Route) -> None:
    """Nothing listens there until it is started again, and Knative sends it requests until it has noticed: 502."""
    with Load(kindling, COFFEE, LABEL, CLIENTS) as load:
        load.wait_for(20)
        (killed,) = cluster.pods()
        began = time.monotonic()
        _kill_container(killed)

        def is_back() -> bool:
            (pod,) = cluster.pods()
            assert pod.metadata.name == killed.metadata.name
            return _container(pod).restart_count == 1 and "is ready: " in cluster.logs(pod.metadata.name)

        eventually(is_back, RECOVERED_S, "started again")
        back = time.monotonic()
        load.wait_for(40)
    assert {each.status for each in load.failed} <= {502}
    assert [each for each in load.failed if each.began > back or each.began + each.took_s < began] == []
    assert load.statuses[200] > 40
