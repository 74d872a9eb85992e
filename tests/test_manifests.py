"""What knative/ says is what the service and Knative can do."""

import os
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask import Flask

from model.artifact import Artifact
from service import inference, metrics
from service.settings import Settings
from tests.manifests import KNATIVE, Manifest, build, build_command, knative_service, with_components
from tests.serving import ROOT

OVERLAYS = sorted(path.name for path in (KNATIVE / "overlays").iterdir())
COMPONENTS = sorted(path.name for path in (KNATIVE / "components").iterdir())
AUTOSCALING = "autoscaling.knative.dev"

pytestmark = pytest.mark.skipif(
    build_command() is None and not os.environ.get("REQUIRE_CLUSTER"), reason="neither kustomize nor kubectl is there"
)


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> Manifest:
    return knative_service(build(KNATIVE / "overlays" / request.param))


def _template(service: Manifest) -> Any:
    return service["spec"]["template"]


def _settings(service: Manifest) -> Settings:
    """The settings that the container starts with; SettingsError when one of them is wrong."""
    (container,) = _template(service)["spec"]["containers"]
    return Settings.from_env({each["name"]: each["value"] for each in container["env"]})


def _seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)([sm])", text).groups()  # type: ignore[union-attr]
    return int(number) * {"s": 1, "m": 60}[unit]


def test_every_environment_variable_is_a_setting(overlay: Manifest) -> None:
    (container,) = _template(overlay)["spec"]["containers"]
    names = {each["name"] for each in container["env"]}
    assert names
    assert names <= {variable for variable, _, _ in Settings.table()}


def test_batch_fits_the_hard_limit_and_that_the_threads(overlay: Manifest, default_artifact: Path) -> None:
    settings = _settings(overlay)
    batch = settings.max_batch_size or Artifact.read(default_artifact).defaults.max_batch_size
    assert batch <= _template(overlay)["spec"]["containerConcurrency"] <= settings.request_threads


def test_overload_is_ours_to_refuse(overlay: Manifest) -> None:
    """Requests that fill our queue fit into the pod, or the queue-proxy would answer 503 before we answer 429."""
    limit = _template(overlay)["spec"]["containerConcurrency"]
    assert _settings(overlay).max_queue_size < limit


def test_target_is_below_the_hard_limit(overlay: Manifest) -> None:
    annotations = _template(overlay)["metadata"]["annotations"]
    assert int(annotations[f"{AUTOSCALING}/target"]) < _template(overlay)["spec"]["containerConcurrency"]


def test_timeouts_end_in_order(overlay: Manifest) -> None:
    """Ours before Knative's; and Knative's leaves 30 quiet seconds and our own end to a pod that goes."""
    settings, timeout_s = _settings(overlay), _template(overlay)["spec"]["timeoutSeconds"]
    assert settings.request_timeout_ms / 1e3 < timeout_s
    assert settings.request_timeout_ms / 1e3 <= settings.graceful_timeout_s < timeout_s
    assert timeout_s > 40


def test_probe_paths_exist(overlay: Manifest) -> None:
    app = Flask("routes", static_folder=None)
    app.register_blueprint(inference.routes)
    app.register_blueprint(metrics.routes)
    routes = app.url_map.bind("localhost")
    (container,) = _template(overlay)["spec"]["containers"]
    ready, live = (container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("readiness", "liveness"))
    assert routes.match(ready)[0] == "inference.ready"
    assert routes.match(live)[0] == "inference.live"
    scraped = _template(overlay)["metadata"]["annotations"].get("prometheus.io/path", "/metrics")
    assert routes.match(scraped)[0] == "metrics.metrics"


def test_port_is_that_of_the_image(overlay: Manifest) -> None:
    (container,) = _template(overlay)["spec"]["containers"]
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


def test_scale_is_within_what_knative_takes(overlay: Manifest) -> None:
    annotations = _template(overlay)["metadata"]["annotations"]
    assert 0 <= int(annotations[f"{AUTOSCALING}/min-scale"]) < int(annotations[f"{AUTOSCALING}/max-scale"])
    assert 6 <= _seconds(annotations[f"{AUTOSCALING}/window"]) <= 3600
    assert 1 <= int(annotations[f"{AUTOSCALING}/target-utilization-percentage"]) <= 100
    assert int(annotations[f"{AUTOSCALING}/target-burst-capacity"]) >= -1


def test_requests_are_within_limits(overlay: Manifest) -> None:
    resources = _template(overlay)["spec"]["containers"][0]["resources"]

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
    number = re.compile(rf" +({AUTOSCALING}|serving.knative.dev)/| {{6}}(containerC|timeoutS)| +(cpu|memory):")
    for file in (KNATIVE / "base/service.yaml", *KNATIVE.glob("overlays/*/scale.yaml")):
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


def test_cluster_local_has_no_public_route(tmp_path: Path) -> None:
    service = knative_service(build(with_components(tmp_path, "cluster-local")))
    assert service["metadata"]["labels"]["networking.knative.dev/visibility"] == "cluster-local"


def test_canary_splits_all_of_the_traffic(tmp_path: Path) -> None:
    traffic = knative_service(build(with_components(tmp_path, "canary")))["spec"]["traffic"]
    assert sum(each["percent"] for each in traffic) == 100
    assert {each["tag"] for each in traffic} == {"stable", "canary"}


def test_production_limits_the_network_and_the_disruption() -> None:
    kinds = [each["kind"] for each in build(KNATIVE / "overlays" / "production")]
    assert sorted(kinds) == ["NetworkPolicy", "PodDisruptionBudget", "Service"]
