"""What `make sbom` and `make audit` tell of the locked packages."""

import json
import os
import re
import subprocess
from typing import Any

import pytest
from packaging.markers import Marker

from tests.docker.test_container import docker, missing
from tests.support import required
from tests.support.serving import ROOT

ENGINE = "onnx"
PURL = re.compile(r"pkg:pypi/([^@]+)@(.+)")
# What a Python comes with: nothing of ours asks for them.
OF_PYTHON = {"pip", "setuptools", "wheel"}


@pytest.fixture(scope="module")
def bom() -> Any:
    image = f"kindling:{ENGINE}-sbom"
    if why := missing(image):
        required.skip(why, "REQUIRE_DOCKER")
    return json.loads(docker("run", "--rm", "--network", "none", image))


def _locked(file: str, python: str) -> dict[str, str]:
    found = {}
    for line in (ROOT / "requirements" / file).read_text().splitlines():
        if pinned := re.match(r"([\w.-]+)==(\S+)(?: ; (.*?))? \\$", line):
            name, version, marker = pinned.groups()
            if not marker or Marker(marker).evaluate({"python_full_version": python}):
                found[name] = version
    return found


def test_the_sbom_has_exactly_the_locked_packages_and_the_library_of_the_engine(bom: Any) -> None:
    (python,) = (
        each["version"] for each in bom["components"] if each["name"] == "python" and each["type"] == "platform"
    )
    packages = (PURL.fullmatch(each.get("purl", "")) for each in bom["components"])
    found = {re.sub("[_.]", "-", match[1].lower()): match[2] for match in packages if match}
    wanted = _locked("service.txt", python) | {"onnxruntime": _locked("export.txt", python)["onnxruntime"]}
    assert {name: version for name, version in found.items() if name not in OF_PYTHON} == wanted


def test_the_sbom_has_debians_packages_and_the_model(bom: Any) -> None:
    assert (bom["bomFormat"], bom["metadata"]["component"]["name"]) == ("CycloneDX", "kindling")
    debian = {each["name"] for each in bom["components"] if each.get("purl", "").startswith("pkg:deb/debian/")}
    assert {"libc6", "libssl3"} <= debian
    (model,) = (each for each in bom["components"] if each["type"] == "machine-learning-model")
    assert re.fullmatch("sha256:[0-9a-f]{64}", model["version"])


def test_an_audit_that_learns_nothing_fails() -> None:
    """An index without advisories must not pass for one that knows of no vulnerability."""
    nowhere = {**os.environ, "https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    done = subprocess.run([ROOT / ".ci" / "audit"], env=nowhere, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"audit: pypi\.org does not tell what is known of flask \S+: .*\n", done.stderr)
    assert done.stdout == ""
