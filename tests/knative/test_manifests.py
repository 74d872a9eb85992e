"""What knative/ says is what the service and Knative can do."""

import os
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask import Flask
from werkzeug.routing import MapAdapter

from model.artifact import Artifact
from service.events.codec import REQUESTED
from service.jobs import delivery
from service.jobs.lease import LEASE_S
from service.settings import Settings
from service.web import events, inference, metrics
from tests.support.manifests import KNATIVE, Manifest, build, build_command, knative_service, with_components
from tests.support.serving import ROOT

# Where `kindling` is no service of Knative itself: test_cloud_run.py and test_deployment.py have those.
ELSEWHERE = ("cloud-run", "deployment", "hybrid")
OVERLAYS = sorted(path.name for path in (KNATIVE / "overlays").iterdir() if path.name not in ELSEWHERE)
WORKERS = ("kind-async", "hybrid")
SERVICES = [*((each, "kindling") for each in OVERLAYS), *((each, "kindling-worker") for each in WORKERS)]
COMPONENTS = sorted(path.name for path in (KNATIVE / "components").iterdir())
AUTOSCALING = "autoscaling.knative.dev"

pytestmark = pytest.mark.skipif(
    build_command() is None and not os.environ.get("REQUIRE_CLUSTER"), reason="neither kustomize nor kubectl is there"
)


@pytest.fixture(params=SERVICES, ids="/".join)
def service(request: pytest.FixtureRequest) -> Manifest:
    overlay, name = request.param
    return knative_service(build(KNATIVE / "overlays" / overlay), name)


def _template(service: Manifest) -> Any:
    return service["spec"]["template"]


def _settings(service: Manifest) -> Settings:
    """The settings that the container starts with; SettingsError when one of them is wrong."""
    (container,) = _template(service)["spec"]["containers"]
    return Settings.from_env({each["name"]: each["value"] for each in container["env"] if "value" in each})


def _seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)([sm])", text).groups()  # type: ignore[union-attr]
    return int(number) * {"s": 1, "m": 60}[unit]


def test_every_environment_variable_is_a_setting(service: Manifest) -> None:
    (container,) = _template(service)["spec"]["containers"]
    names = {each["name"] for each in container["env"]}
    assert names
    assert names <= {variable for variable, _, _ in Settings.table()}


def test_batch_fits_the_hard_limit_and_that_the_threads(service: Manifest, default_artifact: Path) -> None:
    settings = _settings(service)
    batch = settings.max_batch_size or Artifact.read(default_artifact).defaults.max_batch_size
    assert batch <= _template(service)["spec"]["containerConcurrency"] <= settings.request_threads


def test_overload_is_ours_to_refuse(service: Manifest) -> None:
    """Requests that fill our queue fit into the pod, or the queue-proxy would answer 503 before we answer 429."""
    limit = _template(service)["spec"]["containerConcurrency"]
    assert _settings(service).max_queue_size < limit


def test_target_is_below_the_hard_limit(service: Manifest) -> None:
    annotations = _template(service)["metadata"]["annotations"]
    assert int(annotations[f"{AUTOSCALING}/target"]) < _template(service)["spec"]["containerConcurrency"]


def test_timeouts_end_in_order(service: Manifest) -> None:
    """Ours before Knative's; and Knative's leaves 30 quiet seconds and our own end to a pod that goes."""
    settings, timeout_s = _settings(service), _template(service)["spec"]["timeoutSeconds"]
    assert settings.body_timeout_s + settings.request_timeout_ms / 1e3 < timeout_s
    # 9.5 MB over 2 Mbit/s
    assert settings.body_timeout_s > 38
    assert settings.request_timeout_ms / 1e3 <= settings.graceful_timeout_s < timeout_s
    assert timeout_s > 40


def _routes() -> MapAdapter:
    """What the service answers."""
    app = Flask("routes", static_folder=None)
    for routes in (inference.routes, events.routes, metrics.routes):
        app.register_blueprint(routes)
    return app.url_map.bind("localhost")


def test_probe_paths_exist(service: Manifest) -> None:
    routes = _routes()
    (container,) = _template(service)["spec"]["containers"]
    ready, live = (container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("readiness", "liveness"))
    assert routes.match(ready)[0] == "inference.ready"
    assert routes.match(live)[0] == "inference.live"
    scraped = _template(service)["metadata"]["annotations"].get("prometheus.io/path", "/metrics")
    assert routes.match(scraped)[0] == "metrics.metrics"


def test_port_is_that_of_the_image(service: Manifest) -> None:
    (container,) = _template(service)["spec"]["containers"]
    (port,) = container["ports"]
    assert f"PORT={port['containerPort']} " in (ROOT / "Dockerfile").read_text()
    # what Knative keeps for itself
    assert port["containerPort"] not in (8008, 8012, 8013, 8022, 9090, 9091)


@pytest.mark.parametrize("name", OVERLAYS)
def test_security_is_that_of_the_restricted_profile(name: str) -> None:
    spec = _template(knative_service(build(KNATIVE / "overlays" / name)))["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["containers"][0]["securityContext"] == {
        "runAsNonRoot": True,
        "readOnlyRootFilesystem": name != "dev",  # where edited files are copied over those of the image
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    # numeric, or the kubelet cannot tell that it is not root
    assert re.search(r"^USER [1-9]\d*:\d+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


def test_scale_is_within_what_knative_takes(service: Manifest) -> None:
    annotations = _template(service)["metadata"]["annotations"]
    assert 0 <= int(annotations[f"{AUTOSCALING}/min-scale"]) < int(annotations[f"{AUTOSCALING}/max-scale"])
    assert 6 <= _seconds(annotations[f"{AUTOSCALING}/window"]) <= 3600
    assert 1 <= int(annotations[f"{AUTOSCALING}/target-utilization-percentage"]) <= 100
    assert int(annotations[f"{AUTOSCALING}/target-burst-capacity"]) >= -1


def test_requests_are_within_limits(service: Manifest) -> None:
    resources = _template(service)["spec"]["containers"][0]["resources"]

    def cpus(text: str) -> float:
        return int(text[:-1]) / 1000 if text.endswith("m") else int(text)

    assert cpus(resources["requests"]["cpu"]) <= cpus(resources["limits"]["cpu"])
    assert int(resources["requests"]["memory"][:-2]) <= int(resources["limits"]["memory"][:-2])


def test_kind_needs_no_registry() -> None:
    container = _template(knative_service(build(KNATIVE / "overlays" / "kind")))["spec"]["containers"][0]
    assert container["image"].startswith("dev.local/")
    assert container["imagePullPolicy"] == "IfNotPresent"


def test_every_number_has_its_reason() -> None:
    """A comment stands above every annotation and every limit."""
    number = re.compile(
        rf" +({AUTOSCALING}/|serving.knative.dev/progress"
        "|(containerConcurrency|cpu|memory|retry|backoffPolicy|timeout):)| {6}timeoutSeconds:"
    )
    for file in KNATIVE.rglob("*.yaml"):
        for before, line in pairwise(file.read_text().splitlines()):
            if number.match(line):
                assert before.lstrip().startswith("#"), f"{file.name}: {line.strip()}"


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_component_fits_every_overlay(component: str, tmp_path: Path) -> None:
    for overlay in OVERLAYS:
        present = yaml.safe_load((KNATIVE / "overlays" / overlay / "kustomization.yaml").read_text())
        if f"../../components/{component}" not in present.get("components", ()):
            assert build(with_components(tmp_path, component, overlay=overlay))


def test_keep_warm_keeps_a_pod(tmp_path: Path) -> None:
    service = knative_service(build(with_components(tmp_path, "keep-warm")))
    assert _template(service)["metadata"]["annotations"][f"{AUTOSCALING}/min-scale"] == "1"


def test_grpc_names_the_port_for_the_proxies(tmp_path: Path) -> None:
    service = knative_service(build(with_components(tmp_path, "grpc")))
    (container,) = _template(service)["spec"]["containers"]
    assert container["ports"] == [{"containerPort": 8080, "name": "h2c"}]


def test_cluster_local_has_no_public_route(tmp_path: Path) -> None:
    service = knative_service(build(with_components(tmp_path, "cluster-local")))
    assert service["metadata"]["labels"]["networking.knative.dev/visibility"] == "cluster-local"


def test_canary_splits_all_of_the_traffic(tmp_path: Path) -> None:
    traffic = knative_service(build(with_components(tmp_path, "canary")))["spec"]["traffic"]
    assert sum(each["percent"] for each in traffic) == 100
    assert {each["tag"] for each in traffic} == {"stable", "canary"}


def test_the_broker_delivers_as_the_service_does_by_itself() -> None:
    manifests = build(KNATIVE / "overlays" / "kind-async")
    (trigger,) = (each["spec"] for each in manifests if each["kind"] == "Trigger")
    worker = knative_service(manifests, "kindling-worker")
    assert trigger["filter"]["attributes"] == {"type": REQUESTED}
    wanted = trigger["delivery"]
    assert (wanted["retry"], wanted["backoffPolicy"], wanted["backoffDelay"]) == (
        delivery.RETRIES,
        "exponential",
        f"PT{delivery.BACKOFF_S}S",
    )
    # A pod that died with the event has lost it long before the last try.
    assert sum(delivery.BACKOFF_S * 2**each for each in range(delivery.RETRIES)) > 2 * LEASE_S
    assert wanted["timeout"] == f"PT{_template(worker)['spec']['timeoutSeconds']}S"


def test_the_broker_reaches_routes_that_are_there() -> None:
    (trigger,) = (each["spec"] for each in build(KNATIVE / "overlays" / "kind-async") if each["kind"] == "Trigger")
    for to, route in ((trigger["subscriber"], "receive"), (trigger["delivery"]["deadLetterSink"], "bury")):
        assert to["ref"]["name"] == "kindling-worker"
        assert _routes().match(to["uri"], "POST")[0] == f"events.{route}"


def test_the_worker_is_for_the_cluster_alone() -> None:
    worker = knative_service(build(KNATIVE / "overlays" / "kind-async"), "kindling-worker")
    assert worker["metadata"]["labels"]["networking.knative.dev/visibility"] == "cluster-local"
