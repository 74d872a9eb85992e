"""What a month costs: the model by hand, and the tables in docs/comparison.md, which are those that it prints."""

import os

import pytest

from tests.benchmark import costs
from tests.benchmark.costs import AT_WORK, EVENLY, HOURS, PLACES, SIZES, Measured, Traffic, even, evens, table
from tests.support.manifests import KNATIVE, build, build_command, knative_service, of_kind
from tests.support.serving import ROOT

MEASURED = Measured()


def test_lambda_costs_what_its_price_list_says() -> None:
    """A million requests: 0.20 for their number, 17 ms of 3.455 GB each, and 0.36 s for a start now and then."""
    cost = PLACES["Lambda"](Traffic(1e6), MEASURED)
    assert cost == pytest.approx(0.20 + 1e6 * 0.017 * 3538 / 1024 * 0.0000166667, rel=1e-3)
    seldom = PLACES["Lambda"](Traffic(10), MEASURED)
    assert seldom == pytest.approx(10 * (0.20e-6 + 0.377 * 3538 / 1024 * 0.0000166667), rel=0.01)


def test_a_sleeping_pod_costs_what_it_is_awake_for() -> None:
    cost = PLACES["Knative"]
    vcpu = 0.0445 + 0.0049225
    # 20 requests that no other comes near: 6 minutes each, of 2 vCPUs and 2 GiB.
    assert cost(Traffic(20), MEASURED) == pytest.approx(20 * 0.1 * 2 * vcpu, rel=0.01)
    assert cost(Traffic(1e7), MEASURED) == pytest.approx(HOURS * 2 * vcpu)
    assert PLACES["Deployment"](Traffic(0), MEASURED) == pytest.approx(HOURS * 3 * vcpu)
    assert PLACES["Deployment"](Traffic(1e9), MEASURED) == pytest.approx(1e9 * 0.026 / 3600 * vcpu)


@pytest.mark.skipif(
    build_command() is None and not os.environ.get("REQUIRE_CLUSTER"), reason="neither kustomize nor kubectl is there"
)
def test_pods_ask_for_what_the_overlays_say() -> None:
    template = knative_service(build(KNATIVE / "overlays" / "production"))["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert int(container["resources"]["requests"]["cpu"]) == costs.KNATIVE_VCPUS
    told = template["metadata"]["annotations"]
    window, kept = (
        told[f"autoscaling.knative.dev/{name}"] for name in ("window", "scale-to-zero-pod-retention-period")
    )
    assert int(window.removesuffix("s")) + 60 * int(kept.removesuffix("m")) == costs.AWAKE_S
    manifests = build(KNATIVE / "overlays" / "deployment")
    (container,) = of_kind(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert int(container["resources"]["requests"]["cpu"]) == costs.DEPLOYMENT_VCPUS
    autoscaler = of_kind(manifests, "HorizontalPodAutoscaler")["spec"]
    assert autoscaler["minReplicas"] == costs.LEAST_PODS
    assert autoscaler["metrics"][0]["resource"]["target"]["averageUtilization"] == 100


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("hours", [EVENLY, AT_WORK])
def test_more_requests_never_cost_less(place: str, hours: float) -> None:
    costs = [PLACES[place](Traffic(requests, hours), MEASURED) for requests in SIZES]
    assert costs == sorted(costs)


def test_where_two_cost_the_same_they_do() -> None:
    requests = even("Lambda", "Knative", EVENLY, MEASURED)
    one, other = (PLACES[place](Traffic(requests), MEASURED) for place in ("Lambda", "Knative"))
    assert one == pytest.approx(other, rel=1e-4)
    with pytest.raises(ValueError, match="never cost the same"):
        even("Deployment and its cluster", "Deployment", EVENLY, MEASURED)


def test_the_page_has_these_tables() -> None:
    page = (ROOT / "docs" / "comparison.md").read_text()
    for found in (table(EVENLY, MEASURED), table(AT_WORK, MEASURED), evens(MEASURED)):
        assert found in page
