"""The cluster, the image in it, and a namespace of our own."""

import shutil
import subprocess
from collections.abc import Iterator

import pytest
from kubernetes import client, config
from kubernetes.config.config_exception import ConfigException

from tests.cluster.knative import Cluster, Route, own_namespace
from tests.cluster.patience import make_patient
from tests.support import required
from tests.support.manifests import KNATIVE, Manifest, build, knative_service

TOOLS = ("docker", "kind", "kubectl")
SOURCE = "kindling:aoti"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "cluster":
            item.add_marker(pytest.mark.cluster)


def missing_cluster() -> str:
    """Why there is no cluster to test on; empty when there is one."""
    for tool in TOOLS:
        if shutil.which(tool) is None:
            return f"{tool} is not there"
    try:
        context = config.list_kube_config_contexts()[1]["name"]
        config.load_kube_config()
        crds = client.ApiextensionsV1Api().list_custom_resource_definition(_request_timeout=5).items
    except ConfigException:
        return "no cluster is configured: make cluster"
    except Exception as fault:
        return f"the cluster does not answer ({type(fault).__name__}): make cluster"
    # What is tested here stops pods and floods services: only ever a cluster that is there for it.
    if not context.startswith("kind-"):
        return f"the kube context is {context}, not one of kind's: make cluster"
    if not any(crd.metadata.name == "services.serving.knative.dev" for crd in crds):
        return "the cluster has no Knative: make cluster"
    return ""


@pytest.fixture(scope="session")
def api() -> client.ApiClient:
    """The API of the kind cluster that the kube context names; without one, the tests that need it are skipped."""
    if missing := missing_cluster():
        required.skip(missing, "REQUIRE_CLUSTER")
    api = client.ApiClient()
    make_patient(api)
    return api


@pytest.fixture(scope="session")
def image(request: pytest.FixtureRequest) -> str:
    """The image that `make image` built, in the cluster under a name that says which one it is."""
    request.getfixturevalue("api")
    found = subprocess.run(
        ["docker", "image", "inspect", "--format", "{{.Id}}", SOURCE], capture_output=True, text=True, check=False
    )
    if found.returncode:
        missing = f"there is no image {SOURCE}: make image"
        required.skip(missing, "REQUIRE_CLUSTER")
    name = f"dev.local/kindling:{found.stdout.strip().removeprefix('sha256:')[:12]}"
    load_image(SOURCE, name)
    return name


def load_image(source: str, name: str) -> None:
    """The local image `source` in the cluster, as `name`."""
    cluster = config.list_kube_config_contexts()[1]["name"].removeprefix("kind-")
    subprocess.run(["docker", "tag", source, name], check=True)
    subprocess.run(["kind", "load", "docker-image", name, "--name", cluster], check=True, capture_output=True)


@pytest.fixture(scope="module")
def cluster(api: client.ApiClient) -> Iterator[Cluster]:
    """A namespace for the tests of one file: the pods of the file before are still on their way out."""
    with own_namespace(api) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def kindling(cluster: Cluster, image: str) -> Route:
    """overlays/kind as it is, deployed and ready for the tests of one file, which share it."""
    cluster.apply(kind_overlay(image))
    return cluster.wait_ready()


@pytest.fixture
def manifest(image: str) -> Manifest:
    """The Knative Service of overlays/kind with our image, to be changed and applied."""
    return kind_overlay(image)


def kind_overlay(image: str) -> Manifest:
    return with_image(knative_service(build(KNATIVE / "overlays" / "kind")), image)


def with_image(service: Manifest, image: str) -> Manifest:
    service["spec"]["template"]["spec"]["containers"][0]["image"] = image
    return service
