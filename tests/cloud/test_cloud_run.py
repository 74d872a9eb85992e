"""What overlays/cloud-run builds is what Google Cloud Run takes of Knative's API.

What it takes is in the schema of its Admin API: run.googleapis.com/$discovery/rest?version=v1, revision 20261031, there in
the schemas Service, RevisionTemplate, RevisionSpec, Container, Probe and ObjectMeta. Left out here is all of which that
says "not supported by Cloud Run", and what we have no use for.
"""

import os
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from model.artifact import Artifact
from service.settings import Settings
from service.web import inference
from tests.support.manifests import KNATIVE, Manifest, build, build_command, knative_service
from tests.support.serving import ROOT

SCALE = "autoscaling.knative.dev"
RUN = "run.googleapis.com"

PROBE = {
    "failureThreshold": int, "initialDelaySeconds": int, "periodSeconds": int, "timeoutSeconds": int,
    "httpGet": {"path": str, "port": int, "httpHeaders": [{"name": str, "value": str}]},
    "tcpSocket": {"port": int},
}  # fmt: skip
LABELS = {re.compile("[a-z][a-z0-9_-]{0,62}"): re.compile("[a-z0-9_-]{0,63}")}
# ObjectMeta.annotations: "restricted, and the accepted annotations will be different depending on the resource type".
OF_THE_SERVICE = {
    f"{RUN}/{name}": str
    for name in (
        "binary-authorization", "binary-authorization-breakglass", "client-name", "custom-audiences",
        "default-url-disabled", "description", "ingress", "invoker-iam-disabled", "launch-stage", "maxScale", "minScale",
    )
}  # fmt: skip
OF_THE_REVISION = {f"{SCALE}/minScale": str, f"{SCALE}/maxScale": str} | {
    f"{RUN}/{name}": str
    for name in (
        "client-name", "cloudsql-instances", "container-dependencies", "cpu-throttling", "encryption-key",
        "execution-environment", "health-check-disabled", "network-interfaces", "secrets", "sessionAffinity",
        "startup-cpu-boost", "vpc-access-connector", "vpc-access-egress",
    )
}  # fmt: skip
CONTAINER = {
    "name": str, "image": str, "imagePullPolicy": str, "command": [str], "args": [str], "workingDir": str,
    "ports": [{"name": str, "containerPort": int, "protocol": str}],
    "env": [{"name": str, "value": str, "valueFrom": {"secretKeyRef": {"name": str, "key": str}}}],
    "resources": {"limits": {"cpu": str, "memory": str}, "requests": {"cpu": str, "memory": str}},
    "startupProbe": PROBE, "livenessProbe": PROBE, "readinessProbe": PROBE,
}  # fmt: skip
SERVICE = {
    "apiVersion": "serving.knative.dev/v1",
    "kind": "Service",
    "metadata": {"name": str, "namespace": str, "labels": LABELS, "annotations": OF_THE_SERVICE},
    "spec": {
        "template": {
            "metadata": {"name": str, "labels": LABELS, "annotations": OF_THE_REVISION},
            "spec": {
                "containerConcurrency": int, "timeoutSeconds": int, "serviceAccountName": str, "containers": [CONTAINER],
            },
        },
        "traffic": [{"latestRevision": bool, "revisionName": str, "percent": int, "tag": str}],
    },
}  # fmt: skip

pytestmark = pytest.mark.skipif(
    build_command() is None and not os.environ.get("REQUIRE_CLUSTER"), reason="neither kustomize nor kubectl is there"
)


def refused(found: Any, allowed: Any, path: str = "") -> list[str]:
    """The paths in `found` that `allowed` does not have, or has with another type."""
    if isinstance(allowed, dict) and isinstance(found, dict):
        faults = []
        for name, value in found.items():
            kinds = [kind for key, kind in allowed.items() if key == name or _matches(key, name)]
            faults += refused(value, kinds[0], f"{path}.{name}") if kinds else [f"{path}.{name}"]
        return faults
    if isinstance(allowed, list) and isinstance(found, list):
        return [fault for each in found for fault in refused(each, allowed[0], f"{path}[]")]
    fits = type(found) is allowed if isinstance(allowed, type) else found == allowed or _matches(allowed, found)
    return [] if fits else [path]


def _matches(pattern: Any, text: Any) -> bool:
    return isinstance(pattern, re.Pattern) and isinstance(text, str) and bool(pattern.fullmatch(text))


@pytest.fixture(scope="module")
def service() -> Manifest:
    manifests = build(KNATIVE / "overlays" / "cloud-run")
    assert len(manifests) == 1
    return knative_service(manifests)


@pytest.fixture
def spec(service: Manifest) -> Any:
    return service["spec"]["template"]["spec"]


@pytest.fixture
def container(spec: Any) -> Any:
    (only,) = spec["containers"]
    return only


@pytest.fixture
def settings(container: Any) -> Settings:
    variables = {each["name"]: each["value"] for each in container["env"]}
    assert len(variables) == len(container["env"])
    assert variables.keys() <= {name for name, _, _ in Settings.table()}
    return Settings.from_env(variables)


def test_it_has_nothing_that_cloud_run_refuses(service: Manifest) -> None:
    assert refused(service, SERVICE) == []


def test_knatives_own_would_be_refused_for_what_the_overlay_takes_away() -> None:
    faults = set(refused(knative_service(build(KNATIVE / "base")), SERVICE))
    template, spec = ".spec.template.metadata.annotations.", ".spec.template.spec."
    assert faults >= {
        f"{template}{SCALE}/min-scale", f"{template}{SCALE}/metric", f"{template}{SCALE}/target",
        f"{template}serving.knative.dev/progress-deadline", f"{spec}enableServiceLinks",
        f"{spec}automountServiceAccountToken", f"{spec}containers[].securityContext",
        ".metadata.labels.app.kubernetes.io/name",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("found", "path"),
    [({"kind": "Job"}, ".kind"), ({"metadata": {"annotations": {f"{SCALE}/minScale": "1"}}}, f".metadata.annotations.{SCALE}/minScale"),
     ({"metadata": {"labels": {"App": "x"}}}, ".metadata.labels.App"),
     ({"spec": {"template": {"spec": {"containerConcurrency": "8"}}}}, ".spec.template.spec.containerConcurrency"),
     ({"spec": {"template": {"spec": {"containers": [{"env": [{"value": 1}]}]}}}}, ".spec.template.spec.containers[].env[].value")],
)  # fmt: skip
def test_the_check_sees(found: Manifest, path: str) -> None:
    assert refused(found, SERVICE) == [path]


def test_numbers_are_within_what_cloud_run_takes(service: Manifest, spec: Any, container: Any) -> None:
    """RevisionSpec and Probe in that schema; cloud.google.com/run/quotas; cloud.google.com/run/docs/configuring/memory-limits"""
    annotations = service["spec"]["template"]["metadata"]["annotations"]
    assert 0 <= int(annotations[f"{SCALE}/minScale"]) <= int(annotations[f"{SCALE}/maxScale"]) <= 100
    assert annotations[f"{RUN}/execution-environment"] in ("gen1", "gen2")
    assert 1 <= spec["containerConcurrency"] <= 1000
    assert 1 <= spec["timeoutSeconds"] <= 3600
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "1Gi"}
    assert container["livenessProbe"]["periodSeconds"] >= container["livenessProbe"]["timeoutSeconds"] >= 1
    probe = container["startupProbe"]
    assert probe["periodSeconds"] >= probe["timeoutSeconds"] >= 1
    # cloud.google.com/run/docs/configuring/healthchecks: no more than 240 s
    assert probe["failureThreshold"] * probe["periodSeconds"] <= 240


def test_no_request_comes_before_the_model_is_ready(container: Any) -> None:
    app = Flask("routes", static_folder=None)
    app.register_blueprint(inference.routes)
    routes = app.url_map.bind("localhost")
    assert routes.match(container["startupProbe"]["httpGet"]["path"])[0] == "inference.ready"
    assert routes.match(container["livenessProbe"]["httpGet"]["path"])[0] == "inference.live"
    assert "readinessProbe" not in container
    (port,) = container["ports"]
    assert f"PORT={port['containerPort']} " in (ROOT / "Dockerfile").read_text()


def test_batch_fits_concurrency_and_that_the_threads(spec: Any, settings: Settings, default_artifact: Path) -> None:
    batch = settings.max_batch_size or Artifact.read(default_artifact).defaults.max_batch_size
    assert batch <= spec["containerConcurrency"] <= settings.request_threads


def test_timeouts_end_in_order(spec: Any, settings: Settings) -> None:
    assert settings.body_timeout_s + settings.request_timeout_ms / 1e3 < spec["timeoutSeconds"]
    # cloud.google.com/run/docs/container-contract: SIGKILL 10 s after SIGTERM
    assert settings.graceful_timeout_s < 10


def test_nothing_is_delivered_while_there_is_no_cpu(service: Manifest, settings: Settings) -> None:
    assert service["spec"]["template"]["metadata"]["annotations"][f"{RUN}/cpu-throttling"] == "true"
    assert not settings.embedded_delivery


def test_every_number_has_its_reason() -> None:
    lines = (KNATIVE / "overlays" / "cloud-run" / "scale.yaml").read_text().splitlines()
    for before, line in pairwise(lines):
        if re.match(rf" +({SCALE}|{RUN})/", line):
            assert before.lstrip().startswith("#"), line
