"""overlays/kind-async in a namespace, with a recorder of all replies."""

import base64
import json
import secrets
import subprocess
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from kubernetes import client

from tests.cluster.conftest import load_image, with_image
from tests.cluster.knative import Cluster, Route, own_namespace
from tests.support.eventually import eventually
from tests.support.manifests import KNATIVE, Manifest, build
from tests.support.serving import ROOT, Answer

COMPLETED = "dev.kindling.inference.completed"
REQUESTED = "dev.kindling.inference.requested"
PROGRAM = "/recorder/recorder.py"
POSTGRES = "dev.local/kindling-postgres:test"
UP_S = 180.0


@dataclass(frozen=True)
class Async:
    cluster: Cluster
    route: Route

    def send(self, *ids: str, attributes: Mapping[str, str] | None = None) -> None:
        """Request events with a photo, to the Broker, all at once.

        Those whose id begins with `poison` have none, and those whose id begins with `large` have 12 MB.
        """
        events = [{"id": each, "source": "/camera", "type": REQUESTED, **(attributes or {})} for each in ids]
        assert self._run("python", PROGRAM, "send", self._broker, json.dumps(events)) == "[202]\n"

    def event_load(self, clients: int, seconds: float, url: str = "") -> list[float]:
        """The times in ms from an event, to the Broker or to `url`, to its reply; each client sends one after the other."""
        return self._load(url or self._broker, f"{clients}", f"{seconds}", REQUESTED)

    def request_load(self, service: str, clients: int, seconds: float) -> list[float]:
        """The same for requests to a service, at its address inside the cluster."""
        return self._load(f"{self.inside(service)}/infer", f"{clients}", f"{seconds}")

    def inside(self, service: str) -> str:
        """The address of a service inside the cluster."""
        return f"http://{service}.{self.cluster.namespace}.svc.cluster.local"

    def replies(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """The replies to these that came out of the Broker, each with its attributes and data."""
        told = [json.loads(line) for line in self._run("cat", "/tmp/events").splitlines()]
        return [each for each in told if each["attributes"]["requestid"] in ids]

    def delivers(self) -> bool:
        """Whether an event is answered. A Trigger is Ready before its channel knows of it, and forgets what comes then."""
        asked = f"delivers-{secrets.token_hex(3)}"
        self.send(asked)
        with suppress(AssertionError):
            eventually(lambda: bool(self.replies([asked])), 10.0)
        return bool(self.replies([asked]))

    def jobs(self, status: str) -> list[dict[str, Any]]:
        """All jobs of that status, page by page; waits for a database that is away."""
        found: list[dict[str, Any]] = []
        query = {"status": status, "limit": "500"}
        while True:
            page = self._listed(query)
            found += page["jobs"]
            if page["next"] is None:
                return found
            query["after"] = page["next"]

    def _listed(self, query: dict[str, str]) -> dict[str, Any]:
        answers: list[Answer] = []

        def is_told() -> bool:
            answers.append(self.route.call("GET", f"/jobs?{urllib.parse.urlencode(query)}"))
            assert answers[-1].status in (200, 503), answers[-1]
            return answers[-1].status == 200

        eventually(is_told, UP_S, "a database for the jobs")
        found: dict[str, Any] = answers[-1].json
        return found

    def answered(self) -> Counter[tuple[str, int]]:
        """How many events the workers that are there have answered, by route and status."""
        found = sum(self.cluster.requests("kindling-worker").values(), Counter[tuple[str, int]]())
        return Counter({each: count for each, count in found.items() if each[0] in ("/events", "/dead-letters")})

    def _load(self, *arguments: str) -> list[float]:
        found: list[float] = json.loads(self._run("python", PROGRAM, "load", *arguments))
        return found

    @property
    def _broker(self) -> str:
        return f"http://broker-ingress.knative-eventing.svc.cluster.local/{self.cluster.namespace}/default"

    def _run(self, *command: str) -> str:
        code, told = self.cluster.run("recorder", *command, container="recorder")
        assert code == 0, told
        return told


@contextmanager
def deployed(
    api: client.ApiClient, image: str, photo: bytes, change: Callable[[Manifest], None] = lambda _: None
) -> Iterator[Async]:
    """Everything ready, the recorder subscribed to the replies; `change` is made to both services."""
    load_postgres()
    with own_namespace(api) as cluster:
        for manifest in [*build(KNATIVE / "overlays" / "kind-async"), *_recorder(image, photo)]:
            if manifest["apiVersion"] == "serving.knative.dev/v1":
                with_image(manifest, image)
                change(manifest)
            if manifest["kind"] == "StatefulSet":
                with_image(manifest, POSTGRES)
            cluster.apply(manifest)
        for name in ("kindling", "kindling-worker"):
            cluster.wait_ready(name)
        for kind, name in (("Broker", "default"), ("Trigger", "kindling-worker"), ("Trigger", "recorder")):
            eventually(partial(is_ready, cluster, kind, name), UP_S, f"{kind} {name}")
        kindling = Async(cluster, cluster.route())
        eventually(kindling.delivers, UP_S, "a reply to an event")
        yield kindling


def load_postgres() -> None:
    """The image of components/jobs-postgres in the cluster."""
    folder = KNATIVE / "components" / "jobs-postgres"
    subprocess.run(["docker", "build", "--quiet", "--tag", POSTGRES, str(folder)], check=True, capture_output=True)
    load_image(POSTGRES, POSTGRES)


def is_ready(cluster: Cluster, kind: str, name: str) -> bool:
    found = cluster.get("eventing.knative.dev/v1", kind, name)
    return bool(cluster.condition(found).get("status") == "True")


def _recorder(image: str, photo: bytes) -> list[Manifest]:
    program = (ROOT / "tests" / "cluster" / "recorder.py").read_text()
    labels = {"app": "recorder"}
    container = {
        "name": "recorder",
        "image": image,
        "command": ["python", PROGRAM, "serve", "9000"],
        "ports": [{"containerPort": 9000}],
        "readinessProbe": {"tcpSocket": {"port": 9000}},
        "volumeMounts": [{"name": "program", "mountPath": "/recorder"}],
    }
    volumes = [{"name": "program", "configMap": {"name": "recorder"}}]
    subscriber = {"ref": {"apiVersion": "v1", "kind": "Service", "name": "recorder"}}
    trigger = {"broker": "default", "filter": {"attributes": {"type": COMPLETED}}, "subscriber": subscriber}
    return [
        {
            **_named("v1", "ConfigMap"),
            "data": {"recorder.py": program},
            "binaryData": {"photo": base64.b64encode(photo).decode()},
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "recorder", "labels": labels},
            "spec": {"containers": [container], "volumes": volumes},
        },
        {**_named("v1", "Service"), "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 9000}]}},
        {**_named("eventing.knative.dev/v1", "Trigger"), "spec": trigger},
    ]


def _named(api_version: str, kind: str) -> Manifest:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "recorder"}}
