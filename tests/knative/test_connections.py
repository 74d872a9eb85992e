"""All pods together have no more connections to the database than it takes, as docs/production.md says."""

import os
import re
from pathlib import Path

import pytest

from service.settings import Settings
from tests.support.manifests import KNATIVE, Manifest, build, build_command
from tests.support.production import PAGE, build_example

# PostgreSQL's own, unless set: max_connections, and superuser_reserved_connections of those.
POSTGRESQL_MOST, RESERVED = 100, 3
ROW = re.compile(r"\| `([\w-]+)`(?: with `async`)? \| (\d+) \+ (\d+) \| (\d+) \| (\d+)")
OVERLAYS = ("production", "kind-async", "hybrid")

pytestmark = pytest.mark.skipif(
    build_command() is None and not os.environ.get("REQUIRE_CLUSTER"), reason="neither kustomize nor kubectl is there"
)


def _manifests(overlay: str, scratch: Path) -> list[Manifest]:
    """With jobs: those of production are in an overlay of one's own."""
    return build_example("mine", scratch) if overlay == "production" else build(KNATIVE / "overlays" / overlay)


def _pods(manifests: list[Manifest], name: str) -> int:
    """How many there may be, of a Knative Service or a Deployment."""
    for each in manifests:
        if each["kind"] == "Service" and each["metadata"]["name"] == name and "template" in each["spec"]:
            return int(each["spec"]["template"]["metadata"]["annotations"]["autoscaling.knative.dev/max-scale"])
    (scaler,) = (each for each in manifests if each["kind"] == "HorizontalPodAutoscaler")
    assert scaler["metadata"]["name"] == name
    return int(scaler["spec"]["maxReplicas"])


def _pool_size(manifests: list[Manifest]) -> int:
    """Of each pod; none of the manifests may set another one unnoticed."""
    assert "DATABASE_POOL_SIZE" not in str(manifests)
    return Settings().database_pool_size


def _jobs_postgres() -> int:
    """`max_connections` of components/jobs-postgres."""
    start = (KNATIVE / "components" / "jobs-postgres" / "start").read_text()
    (most,) = re.findall(r"-c max_connections=(\d+)", start)
    return int(most)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_all_pods_fit_the_database_and_the_page_says_so(overlay: str, tmp_path: Path) -> None:
    manifests = _manifests(overlay, tmp_path)
    pods = [_pods(manifests, name) for name in ("kindling", "kindling-worker")]
    connections = sum(pods) * _pool_size(manifests)
    room = (_jobs_postgres() if overlay == "kind-async" else POSTGRESQL_MOST) - RESERVED
    assert connections <= room
    told = {name: tuple(map(int, numbers)) for name, *numbers in ROW.findall(PAGE)}
    assert told[overlay] == (*pods, connections, room)
