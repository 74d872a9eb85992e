"""A cluster with Knative, seen through its API, and the routes that it serves."""

import http.client
import json
import secrets
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from kubernetes import client, dynamic
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic.exceptions import NotFoundError
from kubernetes.stream import stream
from prometheus_client.parser import text_string_to_metric_families

from tests.support.eventually import eventually
from tests.support.manifests import Manifest
from tests.support.serving import Answer, ask

# Where kind shows the gateway of Kourier on the host (knative/kind.yaml).
GATEWAY = ("127.0.0.1", 80)
DOMAIN = "127.0.0.1.sslip.io"
READY_S = 180.0


@dataclass(frozen=True)
class Route:
    """Requests through the gateway, or to another address, to the service that `host` names."""

    host: str
    address: tuple[str, int] = GATEWAY

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(*self.address, timeout=90)

    def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """One request on a connection of its own; a dict as `body` is sent as JSON."""
        raw = json.dumps(body).encode() if isinstance(body, dict) else body
        with closing(self.connect()) as connection:
            return self.ask(connection, method, path, raw, headers)

    def ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request on a connection that may take more."""
        return ask(connection, method, path, body, {"Host": self.host, **(headers or {})})


@dataclass(frozen=True)
class Pod:
    name: str
    revision: str

    @classmethod
    def of(cls, found: Any) -> "Pod":
        return cls(found.metadata.name, found.metadata.labels["serving.knative.dev/revision"])


def is_ready(pod: Any) -> bool:
    return any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions or ())


class Cluster:
    """One namespace of a cluster. Every method is one question or one order; waiting has its limit."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self.namespace = namespace
        self.core = client.CoreV1Api(api)
        self._dynamic = dynamic.DynamicClient(api)

    def apply(self, manifest: Manifest) -> None:
        """Server-side apply, in our namespace."""
        resource = self._dynamic.resources.get(api_version=manifest["apiVersion"], kind=manifest["kind"])
        resource.server_side_apply(
            body=manifest, namespace=self.namespace, field_manager="kindling-tests", force_conflicts=True
        )

    def get(self, api_version: str, kind: str, name: str) -> Any:
        """The object as a dict, or None."""
        resource = self._dynamic.resources.get(api_version=api_version, kind=kind)
        try:
            return resource.get(name=name, namespace=self.namespace).to_dict()
        except NotFoundError:
            return None

    def service(self, name: str = "kindling") -> Any:
        return self.get("serving.knative.dev/v1", "Service", name)

    def revision(self, name: str) -> Any:
        return self.get("serving.knative.dev/v1", "Revision", name)

    def condition(self, thing: Any, kind: str = "Ready") -> Manifest:
        """A condition of an object; an empty one when it is not there yet."""
        found: list[Manifest] = (thing or {}).get("status", {}).get("conditions", [])
        return next((each for each in found if each["type"] == kind), {})

    def wait_ready(self, name: str = "kindling") -> Route:
        """The route of a service, once the latest change of it is Ready and is served."""

        def is_ready() -> bool:
            found = self.service(name)
            status = (found or {}).get("status", {})
            return (
                status.get("observedGeneration") == (found or {}).get("metadata", {}).get("generation")
                and self.condition(found).get("status") == "True"
            )

        eventually(is_ready, READY_S, f"{name} ready")
        return self.route(name)

    def route(self, name: str = "kindling") -> Route:
        return Route(f"{name}.{self.namespace}.{DOMAIN}")

    def pods(self, service: str = "kindling", *, revision: str | None = None) -> list[Any]:
        """The pods of a service that are not on their way out."""
        selector = f"serving.knative.dev/service={service}"
        if revision:
            selector += f",serving.knative.dev/revision={revision}"
        found = self.core.list_namespaced_pod(self.namespace, label_selector=selector).items
        return [pod for pod in found if pod.metadata.deletion_timestamp is None]

    def all_pods(self, service: str = "kindling") -> list[Any]:
        """The pods of a service, those on their way out included."""
        return self.labelled(f"serving.knative.dev/service={service}")

    def labelled(self, selector: str) -> list[Any]:
        """The pods with these labels, those on their way out included."""
        return list(self.core.list_namespaced_pod(self.namespace, label_selector=selector).items)

    def ready_pods(self, service: str = "kindling") -> list[Any]:
        return [pod for pod in self.pods(service) if is_ready(pod)]

    def delete_pod(self, name: str) -> None:
        """Graceful, as `kubectl delete pod`."""
        self.core.delete_namespaced_pod(name, self.namespace)

    def logs(self, pod: str, container: str = "kindling") -> str:
        return str(self.core.read_namespaced_pod_log(pod, self.namespace, container=container))

    def kill_pod(self, pod: Any) -> None:
        """SIGKILL to all of its processes at once, as when a node is lost; the kubelet then starts it again."""
        uid = pod.metadata.uid
        # The cgroup's name has the pod's uid in it, under systemd with other dashes.
        processes = f"grep -lE '{uid}|{uid.replace('-', '_')}' /proc/[0-9]*/cgroup | cut -d/ -f3"
        # kind's nodes are containers of Docker. A process may have ended meanwhile.
        kill = f"{processes} | xargs -r kill -KILL 2>/dev/null || true"
        subprocess.run(["docker", "exec", pod.spec.node_name, "sh", "-c", kill], check=True, capture_output=True)

    def run(self, pod: str, *command: str, container: str = "kindling") -> tuple[int, str]:
        """Exit code and words of a command in one of the pod's containers."""
        # A client of its own: `stream` changes what the client does for every thread, as long as it connects.
        connect = client.CoreV1Api(client.ApiClient()).connect_get_namespaced_pod_exec
        wanted = {"container": container, "command": list(command), "stdout": True, "stderr": True}
        running = stream(connect, pod, self.namespace, **wanted, _preload_content=False)
        try:
            running.run_forever(timeout=60)
            return running.returncode, running.read_all()
        finally:
            running.sock.shutdown()  # its close() leaves the socket to the garbage, once the other side has closed it

    def answered(self, service: str = "kindling") -> dict[Pod, int]:
        """How many photos each pod has labelled, as its own metrics tell."""
        return {pod: found["/infer", 200] for pod, found in self.requests(service).items()}

    def requests(self, service: str = "kindling") -> dict[Pod, Counter[tuple[str, int]]]:
        """How many requests each pod has answered, by route and status, as its own metrics tell."""
        placed = (each for each in self.all_pods(service) if each.status.pod_ip)
        return {Pod.of(each): self.requests_to(each.metadata.name) for each in placed}

    def requests_to(self, pod: str) -> Counter[tuple[str, int]]:
        """The same of one pod; nothing when it is gone meanwhile."""
        return _requests(self._metrics(pod))

    def _metrics(self, pod: str) -> str:
        """GET /metrics of one pod; empty when it is gone meanwhile."""
        found: list[str] = []

        def is_told() -> bool:
            try:
                told = self.core.connect_get_namespaced_pod_proxy_with_path(f"{pod}:8080", self.namespace, "metrics")
            except ApiException as fault:
                if fault.status not in (404, 500, 503):
                    raise
                # 500 and 503: it does not listen yet, or no longer.
                told = "" if fault.status == 404 else None
            found.extend([] if told is None else [told])
            return bool(found)

        eventually(is_told, READY_S, f"metrics of {pod}")
        return found[0]


def _requests(metrics: str) -> Counter[tuple[str, int]]:
    samples = (each for family in text_string_to_metric_families(metrics) for each in family.samples)
    answered = (each for each in samples if each.name == "kindling_requests_total")
    return Counter({(each.labels["route"], int(each.labels["status"])): int(each.value) for each in answered})


@contextmanager
def own_namespace(api: client.ApiClient, prefix: str = "kindling-test") -> Iterator[Cluster]:
    """A namespace that is there as long as the block; then its pods end at once, and the rest in the background.

    Left to itself, a pod of Knative's stays for 30 s more, and the next test's pods may not fit beside it.
    """
    core = client.CoreV1Api(api)
    name = f"{prefix}-{secrets.token_hex(3)}"
    core.create_namespace({"metadata": {"name": name}})
    try:
        yield Cluster(api, name)
    finally:
        core.delete_namespace(name)
        core.delete_collection_namespaced_pod(name, grace_period_seconds=1)
