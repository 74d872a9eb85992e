"""What docs/production.md has people deploy: its numbers fit each other, and its Brokers are what their classes take."""

import os
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from service.settings import Settings
from tests.support.manifests import KNATIVE, Manifest, build, build_command, knative_service
from tests.support.production import EXAMPLES, build_example
from tests.support.serving import ROOT

AUTOSCALING = "autoscaling.knative.dev"
RABBITMQ = "rabbitmq.eventing.knative.dev"
BROKER_CLASS = "eventing.knative.dev/broker.class"
SERVICES = ("kindling", "kindling-worker")
# What a RabbitMQ Broker runs beside the services: its ingress, and two that deliver (eventing-rabbitmq 1.22, pkg/reconciler).
RABBITMQ_PODS, RABBITMQ_CPU, RABBITMQ_MEMORY = 3, 0.05, 64 * 2**20
OWN_IMAGE = re.compile(r"[\w.-]+(/[\w.-]+)+@sha256:[0-9a-f]{64}")
UNITS = {"m": 1e-3, "Mi": 2**20, "Gi": 2**30, "": 1}

pytestmark = pytest.mark.skipif(
    build_command() is None and not os.environ.get("REQUIRE_CLUSTER"), reason="neither kustomize nor kubectl is there"
)


def _quantity(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(\D*)", text).groups()  # type: ignore[union-attr]
    return int(number) * UNITS[unit]


def _the(manifests: list[Manifest], kind: str) -> Manifest:
    (only,) = (each for each in manifests if each["kind"] == kind)
    return only


def _annotation(service: Manifest, name: str) -> int:
    return int(service["spec"]["template"]["metadata"]["annotations"][f"{AUTOSCALING}/{name}"])


@pytest.fixture(scope="module")
def production() -> list[Manifest]:
    return build(KNATIVE / "overlays" / "production")


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    return build_example("mine", tmp_path_factory.mktemp("rabbitmq"))


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    return build_example("mine-kafka", tmp_path_factory.mktemp("kafka"))


def test_production_has_its_namespace_and_its_limits(production: list[Manifest]) -> None:
    kinds = [each["kind"] for each in production]
    assert sorted(kinds) == [
        "LimitRange", "Namespace", "NetworkPolicy", "PodDisruptionBudget", "ResourceQuota", "Service",
    ]  # fmt: skip
    assert _the(production, "Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_stays_in_its_namespace_and_names_images_by_digest(name: str, tmp_path: Path) -> None:
    manifests = build_example(name, tmp_path)
    (space,) = {each["metadata"]["namespace"] for each in manifests if each["kind"] != "Namespace"}
    assert _the(manifests, "Namespace")["metadata"]["name"] == space
    containers = [
        container
        for each in manifests
        for container in each.get("spec", {}).get("template", {}).get("spec", {}).get("containers", [])
    ]
    assert containers
    assert all(OWN_IMAGE.fullmatch(each["image"]) for each in containers)


def _need(manifests: list[Manifest], resource: str) -> float:
    """What all pods of both services ask for, each with its queue-proxy."""
    (limits,) = _the(manifests, "LimitRange")["spec"]["limits"]
    need = 0.0
    for name in SERVICES:
        service = knative_service(manifests, name)
        (container,) = service["spec"]["template"]["spec"]["containers"]
        pod = _quantity(container["resources"]["requests"][resource]) + _quantity(limits["defaultRequest"][resource])
        need += _annotation(service, "max-scale") * pod
    return need


@pytest.mark.parametrize(
    ("resource", "broker"), [("cpu", RABBITMQ_PODS * RABBITMQ_CPU), ("memory", RABBITMQ_PODS * RABBITMQ_MEMORY)]
)
def test_the_quota_has_room_for_two_revisions_and_for_little_more(
    resource: str, broker: float, rabbitmq: list[Manifest]
) -> None:
    need = 2 * _need(rabbitmq, resource) + broker
    quota = _quantity(_the(rabbitmq, "ResourceQuota")["spec"]["hard"][f"requests.{resource}"])
    assert need <= quota <= 1.1 * need


def test_both_services_are_closed_and_open_to_what_jobs_need(rabbitmq: list[Manifest]) -> None:
    policies = {each["metadata"]["name"]: each["spec"] for each in rabbitmq if each["kind"] == "NetworkPolicy"}
    assert policies.keys() == {"kindling", "kindling-async"}
    for policy in policies.values():
        (selected,) = policy["podSelector"]["matchExpressions"]
        assert selected == {"key": "serving.knative.dev/service", "operator": "In", "values": list(SERVICES)}
    assert policies["kindling"]["egress"] == []
    ports = {port["port"] for rule in policies["kindling-async"]["egress"] for port in rule["ports"]}
    assert ports == {53, 8080, 8443, 5432}


def test_the_database_is_closed_but_to_the_services(tmp_path: Path) -> None:
    manifests = build_example("mine-database", tmp_path)
    assert "Secret" not in {each["kind"] for each in manifests}
    policy = _the(manifests, "NetworkPolicy")["spec"]
    pod = _the(manifests, "StatefulSet")["spec"]["template"]
    assert policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    (rule,) = policy["ingress"]
    assert [port["port"] for port in rule["ports"]] == [
        port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]
    ]
    service = knative_service(build(KNATIVE / "base"))["spec"]["template"]
    (source,) = rule["from"]
    namespace = knative_service(build(KNATIVE / "overlays" / "production"))["metadata"]["namespace"]
    assert source["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    assert source["podSelector"]["matchLabels"].items() <= service["metadata"]["labels"].items()


def _strict(schema: Any) -> Any:
    """A CRD's schema without fields that it does not name: the API server would drop them without a word."""
    closed = {name: _strict(value) if isinstance(value, dict) else value for name, value in schema.items()}
    if "properties" in schema:
        closed["properties"] = {name: _strict(each) for name, each in schema["properties"].items()}
        closed["additionalProperties"] = False
    return closed


@pytest.mark.parametrize("example", [True, False])
def test_the_rabbitmq_config_is_what_the_crd_takes(example: bool, rabbitmq: list[Manifest]) -> None:
    schema = _strict(
        yaml.safe_load((ROOT / "tests" / "support" / "schemas" / "rabbitmq_broker_config.yaml").read_text())
    )
    own = yaml.safe_load((KNATIVE / "components" / "rabbitmq" / "config.yaml").read_text())
    config = _the(rabbitmq, "RabbitmqBrokerConfig") if example else own
    jsonschema.validate(config, schema)
    # "Have to set either name or connectionSecret, but not both"
    assert ("name" in (cluster := config["spec"]["rabbitmqClusterReference"])) != ("connectionSecret" in cluster)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(config | {"spec": config["spec"] | {"queue": "quorum"}}, schema)


def test_rabbitmq_delivers_as_many_as_the_workers_should_have(rabbitmq: list[Manifest]) -> None:
    broker, trigger = _the(rabbitmq, "Broker"), _the(rabbitmq, "Trigger")
    config = _the(rabbitmq, "RabbitmqBrokerConfig")
    assert broker["metadata"]["annotations"] == {BROKER_CLASS: "RabbitMQBroker"}
    assert broker["spec"]["config"] == {
        "apiVersion": config["apiVersion"],
        "kind": config["kind"],
        "name": config["metadata"]["name"],
    }
    worker = knative_service(rabbitmq, "kindling-worker")
    of_a_pod = _annotation(worker, "target") * _annotation(worker, "target-utilization-percentage") // 100
    parallelism = int(trigger["metadata"]["annotations"][f"{RABBITMQ}/parallelism"])
    assert parallelism == _annotation(worker, "max-scale") * of_a_pod
    assert 1 <= parallelism <= 1000
    # 100 events sent ahead: Qos in pkg/rabbit/connections_handler.go
    limit = _quantity(trigger["metadata"]["annotations"][f"{RABBITMQ}/memory-limit"])
    assert limit > 100 * Settings().max_body_bytes


def test_rabbitmqs_pods_are_let_into_the_namespace(rabbitmq: list[Manifest]) -> None:
    labels = _the(rabbitmq, "Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "baseline"
    assert labels["pod-security.kubernetes.io/warn"] == "restricted"


def test_kafka_keeps_two_copies_of_whatever_the_service_takes(kafka: list[Manifest]) -> None:
    broker, config = _the(kafka, "Broker"), _the(kafka, "ConfigMap")
    assert broker["metadata"]["annotations"] == {BROKER_CLASS: "Kafka"}
    assert broker["spec"]["config"] == {"apiVersion": "v1", "kind": "ConfigMap", "name": config["metadata"]["name"]}
    # control-plane/pkg/kafka/topic.go and pkg/security/config.go of eventing-kafka-broker 1.23
    topic, own = "default.topic.", "default.topic.config."
    assert config["data"].keys() == {
        "bootstrap.servers", "auth.secret.ref.name", f"{topic}partitions", f"{topic}replication.factor",
        f"{own}min.insync.replicas", f"{own}max.message.bytes",
    }  # fmt: skip
    numbers = {name: int(value) for name, value in config["data"].items() if name.startswith(topic)}
    assert 1 < numbers[f"{own}min.insync.replicas"] < numbers[f"{topic}replication.factor"]
    assert numbers[f"{own}max.message.bytes"] > Settings().max_body_bytes
    worker = knative_service(kafka, "kindling-worker")
    assert numbers[f"{topic}partitions"] == _annotation(worker, "max-scale")
