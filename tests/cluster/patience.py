"""Knative's own pods, made to outlive the load of these tests.

Knative asks next to nothing of a node for itself, and gives a pod a second to answer its probe. On a node that computes
with every core, a Broker's pods are late three times in a row, are killed, and the events in their memory are gone.
"""

from typing import Any

from kubernetes import client

from tests.support.eventually import eventually

NAMESPACES = ("knative-serving", "kourier-system", "knative-eventing")
PROBES = ("livenessProbe", "readinessProbe")
PATIENT = {"timeoutSeconds": 10, "failureThreshold": 6}
# The dispatcher, which holds the events, asks for nothing at all, so that anything else goes before it.
CPU = "50m"
ROLLED_OUT_S = 300.0


def make_patient(api: client.ApiClient) -> None:
    """Returns once all Deployments of Knative run so; changes nothing where they already do."""
    apps = client.AppsV1Api(api)
    for namespace in NAMESPACES:
        for deployment in apps.list_namespaced_deployment(namespace).items:
            containers = [_patient(each) for each in deployment.spec.template.spec.containers]
            change = {"spec": {"template": {"spec": {"containers": containers}}}}
            apps.patch_namespaced_deployment(deployment.metadata.name, namespace, change)
    eventually(lambda: all(_is_rolled_out(apps, each) for each in NAMESPACES), ROLLED_OUT_S, "Knative's own pods")


def _patient(container: Any) -> dict[str, Any]:
    asked = container.resources.requests or {}
    probes = {each: PATIENT for each in PROBES if getattr(container, _attribute(each)) is not None}
    return {"name": container.name, "resources": {"requests": {"cpu": CPU, **asked}}, **probes}


def _attribute(field: str) -> str:
    return field.replace("Probe", "_probe")


def _is_rolled_out(apps: client.AppsV1Api, namespace: str) -> bool:
    return all(_is_current(each) for each in apps.list_namespaced_deployment(namespace).items)


def _is_current(deployment: Any) -> bool:
    wanted, told = deployment.spec.replicas, deployment.status
    counts = ((each or 0) for each in (told.replicas, told.updated_replicas, told.available_replicas))
    return bool(told.observed_generation == deployment.metadata.generation and {*counts} == {wanted})
