"""What is deployed: the folders of knative/, as kustomize builds them."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.support.serving import ROOT

KNATIVE = ROOT / "knative"
Manifest = dict[str, Any]


def build_command() -> list[str] | None:
    """kustomize, or the one that is part of kubectl; None where there is neither."""
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    return ["kubectl", "kustomize"] if shutil.which("kubectl") else None


def build(folder: Path) -> list[Manifest]:
    """The manifests of an overlay, or of any folder with a kustomization.yaml."""
    command = build_command()
    assert command, "neither kustomize nor kubectl is there"
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def with_components(scratch: Path, *components: str, overlay: str = "kind") -> Path:
    """A folder inside `scratch` that adds `components` to an overlay."""
    # kustomize takes no absolute paths.
    up = "../" * (len(scratch.resolve().parts) - 1) + str(KNATIVE.relative_to("/"))
    listed = [f"{up}/components/{each}" for each in components]
    content = {"resources": [f"{up}/overlays/{overlay}"], "components": listed}
    (scratch / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return scratch


def knative_service(manifests: list[Manifest], name: str = "kindling") -> Manifest:
    (service,) = (
        each
        for each in manifests
        if each["apiVersion"] == "serving.knative.dev/v1" and each["metadata"]["name"] == name
    )
    return service


def of_kind(manifests: list[Manifest], kind: str) -> Manifest:
    """The only one of a kind of Kubernetes' own or of Eventing's."""
    (found,) = (each for each in manifests if each["kind"] == kind and each["apiVersion"] != "serving.knative.dev/v1")
    return found
