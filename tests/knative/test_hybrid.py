"""overlays/hybrid: the Deployment for requests, and Knative's worker for what may be answered later."""

import os

import pytest

from tests.support.manifests import KNATIVE, Manifest, build, build_command, knative_service, of_kind

pytestmark = pytest.mark.skipif(
    build_command() is None and not os.environ.get("REQUIRE_CLUSTER"), reason="neither kustomize nor kubectl is there"
)


@pytest.fixture(scope="module")
def hybrid() -> list[Manifest]:
    return build(KNATIVE / "overlays" / "hybrid")


def test_it_is_the_deployment_with_a_database_and_a_worker(hybrid: list[Manifest]) -> None:
    mixed, plain = (of_kind(each, "Deployment") for each in (hybrid, build(KNATIVE / "overlays" / "deployment")))
    database = mixed["spec"]["template"]["spec"]["containers"][0]["env"].pop()
    assert mixed == plain
    worker = knative_service(hybrid, "kindling-worker")["spec"]["template"]["spec"]["containers"][0]
    assert database in worker["env"]
    assert database["valueFrom"]["secretKeyRef"] == {"name": "kindling-database", "key": "url"}


def test_both_are_told_where_the_broker_is(hybrid: list[Manifest]) -> None:
    bindings = [each["spec"] for each in hybrid if each["kind"] == "SinkBinding"]
    broker = of_kind(hybrid, "Broker")
    for binding in bindings:
        assert binding["sink"]["ref"] == {key: broker[key] for key in ("apiVersion", "kind")} | {"name": "default"}
    subjects = {each["subject"]["kind"]: each["subject"] for each in bindings}
    assert subjects["Deployment"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "kindling"}
    worker = knative_service(hybrid, "kindling-worker")["metadata"]["labels"]
    assert worker.items() >= subjects["Service"]["selector"]["matchLabels"].items()
