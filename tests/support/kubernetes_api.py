"""As much of Kubernetes' API as `kubectl get` asks for, so that a cluster can be put into any state, in any order."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

Object = dict[str, Any]
SERVING = "serving.knative.dev"


class KubernetesApi:
    """One Knative Service `kindling` in the namespace `default`, and what belongs to it; all of it may be set at any time."""

    def __init__(self) -> None:
        self.service: Object = {}
        self.pods: dict[str, list[Object]] = {}
        """By revision."""
        self.logs = ""
        self.events: list[str] = []

    def answer(self, path: str, query: dict[str, list[str]]) -> Object | str | None:
        """What GET answers: an object, the lines of a log, or nothing."""
        selected = query.get("labelSelector", [""])[0].rpartition("=")[2]
        answers: dict[str, Object | str | None] = {
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "groups": [_group()]},
            "/api/v1": _resources("v1", pods="Pod", events="Event"),
            f"/apis/{SERVING}/v1": _resources(f"{SERVING}/v1", services="Service"),
            f"/apis/{SERVING}/v1/namespaces/default/services/kindling": self.service or None,
            "/api/v1/namespaces/default/pods": _listed("Pod", self.pods.get(selected, [])),
            **{_path(pod): pod for pods in self.pods.values() for pod in pods},
            **{f"{_path(pod)}/log": self.logs for pods in self.pods.values() for pod in pods},
            "/api/v1/namespaces/default/events": _listed(
                "Event", [_event(at, each) for at, each in enumerate(self.events)]
            ),
        }
        return answers.get(path)


@contextmanager
def serving(folder: Path) -> Iterator[tuple[KubernetesApi, dict[str, str]]]:
    """The API, and the environment by which kubectl finds it."""
    api = KubernetesApi()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            found = api.answer(url.path, parse_qs(url.query))
            body = found if isinstance(found, str) else json.dumps(found or _not_found())
            self.send_response(200 if found is not None else 404)
            self.send_header("Content-Type", "text/plain" if isinstance(found, str) else "application/json")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield api, _environ(folder, server.server_port)
        finally:
            server.shutdown()
            thread.join()


def _path(pod: Object) -> str:
    return f"/api/v1/namespaces/default/pods/{pod['metadata']['name']}"


def _environ(folder: Path, port: int) -> dict[str, str]:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "users": [{"name": "test", "user": {}}],
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    return {"KUBECONFIG": str(folder / "kubeconfig"), "KUBECACHEDIR": str(folder / "cache"), "HOME": str(folder)}


def _group() -> Object:
    version = {"groupVersion": f"{SERVING}/v1", "version": "v1"}
    return {"name": SERVING, "versions": [version], "preferredVersion": version}


def _resources(group_version: str, **kinds: str) -> Object:
    short = {"Service": ["ksvc"]}
    resources = [
        {
            "name": name,
            "singularName": name.removesuffix("s"),
            "namespaced": True,
            "kind": kind,
            "verbs": ["get", "list"],
            "shortNames": short.get(kind, []),
        }
        for name, kind in kinds.items()
    ]
    return {"kind": "APIResourceList", "groupVersion": group_version, "resources": resources}


def _named(kind: str, name: str) -> Object:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "default"}}


def _event(number: int, message: str) -> Object:
    event = {**_named("Event", f"event-{number}"), "message": message}
    event["metadata"]["creationTimestamp"] = f"2026-01-01T00:00:{number:02}Z"
    return event


def _listed(kind: str, items: list[Object]) -> Object:
    return {"apiVersion": "v1", "kind": f"{kind}List", "metadata": {}, "items": items}


def _not_found() -> Object:
    message = 'services.serving.knative.dev "kindling" not found'
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "reason": "NotFound",
        "code": 404,
        "message": message,
    }
