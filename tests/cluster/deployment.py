"""overlays/deployment in a namespace, made small, and asked at its node port."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kubernetes import client

from tests.cluster.knative import READY_S, Cluster, Route, is_ready, own_namespace
from tests.support.eventually import eventually
from tests.support.manifests import KNATIVE, Manifest, build, of_kind

REPLICAS = 3
PODS = "app.kubernetes.io/name=kindling,app.kubernetes.io/component=inference"


@dataclass(frozen=True)
class Deployed:
    cluster: Cluster
    manifests: list[Manifest]

    def apply(self) -> None:
        for manifest in self.manifests:
            self.cluster.apply(manifest)

    @property
    def route(self) -> Route:
        """The node port: nothing gives out load balancers here."""
        (port,) = self.cluster.get("v1", "Service", "kindling")["spec"]["ports"]
        (node,) = self.cluster.core.list_node().items
        (address,) = (each.address for each in node.status.addresses if each.type == "InternalIP")
        return Route("kindling", (address, port["nodePort"]))

    def all_pods(self) -> list[Any]:
        """Those on their way out included."""
        return self.cluster.labelled(PODS)

    def ready_pods(self) -> list[Any]:
        return [pod for pod in self.all_pods() if pod.metadata.deletion_timestamp is None and is_ready(pod)]

    def wait_ready(self, replicas: int = REPLICAS) -> None:
        """Return when there are so many pods, each of them ready and of the latest change."""

        def is_rolled_out() -> bool:
            found = self.cluster.get("apps/v1", "Deployment", "kindling")
            status = found["status"]
            return bool(
                status.get("observedGeneration") == found["metadata"]["generation"]
                and [status.get(each) for each in ("replicas", "updatedReplicas", "readyReplicas")] == [replicas] * 3
                # The Deployment's status is behind that of its pods.
                and len(self.ready_pods()) == replicas
            )

        eventually(is_rolled_out, READY_S, f"{replicas} ready pods")

    def answered(self) -> dict[str, int]:
        """How many photos each ready pod has labelled, as its own metrics tell."""
        names = [pod.metadata.name for pod in self.ready_pods()]
        return {name: self.cluster.requests_to(name)["/infer", 200] for name in names}


def small(manifests: list[Manifest], image: str) -> list[Manifest]:
    """The manifests with our image, and little set aside: all pods share the cores of one machine."""
    (container,) = of_kind(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    container["image"] = image
    container["resources"]["requests"] = {"cpu": "100m", "memory": "256Mi"}
    # The same use of CPU as before: ten times a tenth of the request.
    target(manifests)["averageUtilization"] *= 10
    return manifests


def target(manifests: list[Manifest]) -> Any:
    """What the autoscaler aims at."""
    return of_kind(manifests, "HorizontalPodAutoscaler")["spec"]["metrics"][0]["resource"]["target"]


@contextmanager
def deployed(api: client.ApiClient, manifests: list[Manifest]) -> Iterator[Deployed]:
    """These in a namespace of their own, with three ready pods."""
    with own_namespace(api) as cluster:
        kindling = Deployed(cluster, manifests)
        kindling.apply()
        kindling.wait_ready()
        yield kindling


def overlay(image: str) -> list[Manifest]:
    return small(build(KNATIVE / "overlays" / "deployment"), image)
