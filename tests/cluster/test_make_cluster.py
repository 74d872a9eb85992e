"""`make cluster` where the cluster is up: quick, and nothing is touched."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.serving import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("cluster")]

SPACES = ("knative-serving", "kourier-system", "knative-eventing")


def _kubectl(*arguments: str) -> str:
    return subprocess.run(["kubectl", *arguments], capture_output=True, text=True, check=True).stdout


def _state() -> dict[str, str]:
    """Every Deployment's generation, and the version of all else that `make cluster` writes."""
    state = {}
    for space in SPACES:
        for item in json.loads(_kubectl("-n", space, "get", "deployments,configmaps,services", "-o", "json"))["items"]:
            # A Deployment's version moves with its pods.
            key = "generation" if item["kind"] == "Deployment" else "resourceVersion"
            state[f"{item['kind']} {space}/{item['metadata']['name']}"] = str(item["metadata"][key])
        state[space] = json.loads(_kubectl("get", "namespace", space, "-o", "json"))["metadata"]["resourceVersion"]
    return state


def _make_cluster(**environ: str) -> str:
    name = _kubectl("config", "current-context").strip().removeprefix("kind-")
    done = subprocess.run(
        ["make", "--no-print-directory", "cluster", f"KIND_CLUSTER_NAME={name}"],
        cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return done.stderr


def test_a_second_run_is_quick_and_changes_nothing() -> None:
    _make_cluster()
    before = _state()
    started = time.monotonic()
    said = _make_cluster()
    assert time.monotonic() - started < 20
    assert _state() == before
    assert "2/4 Knative is there: " in said
    assert "==> go on with: skaffold dev" in said


def test_the_current_context_is_neither_used_nor_changed(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "config"
    shutil.copy(os.environ.get("KUBECONFIG", Path.home() / ".kube/config"), kubeconfig)
    # Nothing listens there.
    subprocess.run(
        f"export KUBECONFIG={kubeconfig}; kubectl config set-cluster other --server=https://127.0.0.1:1"
        " && kubectl config set-context other --cluster=other && kubectl config use-context other",
        shell=True, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    before = kubeconfig.read_bytes()
    said = _make_cluster(KUBECONFIG=str(kubeconfig))
    assert "==> go on with: skaffold dev --kube-context kind-" in said
    assert kubeconfig.read_bytes() == before


def test_the_gateway_and_the_domain_are_set() -> None:
    _make_cluster()
    read = json.loads(_kubectl("-n", "knative-serving", "get", "configmap", "config-network", "-o", "json"))
    assert read["data"]["ingress-class"] == "kourier.ingress.networking.knative.dev"
    read = json.loads(_kubectl("-n", "knative-serving", "get", "configmap", "config-domain", "-o", "json"))
    assert read["data"]["127.0.0.1.sslip.io"] == ""
    read = json.loads(_kubectl("-n", "kourier-system", "get", "service", "kourier", "-o", "json"))
    ports = {port["name"]: port for port in read["spec"]["ports"]}
    assert read["spec"]["type"] == "NodePort"
    assert (ports["http2"]["port"], ports["http2"]["nodePort"]) == (80, 31080)
    assert ports["http2"]["targetPort"] == 8080
