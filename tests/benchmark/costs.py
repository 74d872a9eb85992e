"""`python -m tests.benchmark.costs`: what a month costs in each place, and from how many requests on the next is cheaper.

List prices in US dollars, without free tiers, discounts, network and load balancers:

- aws.amazon.com/lambda/pricing, us-east-1, x86; the init phase is billed as the rest:
  aws.amazon.com/blogs/compute/aws-lambda-standardizes-billing-for-init-phase
- cloud.google.com/run/pricing, tier 1, billed by request, each started 100 ms
- cloud.google.com/kubernetes-engine/pricing, us-central1, Autopilot: what pods ask for, and a fee for the cluster
- What Knative's own pods ask for: knative.dev/serving 0.50 and net-kourier 0.48, as released
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass

HOURS = 730.0
VCPUS = 2

LAMBDA_GB, LAMBDA_GB_S, LAMBDA_REQUEST = 3538 / 1024, 0.0000166667, 0.20e-6
CLOUD_RUN_S, CLOUD_RUN_REQUEST, CLOUD_RUN_STEP_S = VCPUS * 0.000024 + 1 * 0.0000025, 0.40e-6, 0.1
VCPU_HOUR, GIB_HOUR, CLUSTER_HOUR = 0.0445, 0.0049225, 0.10
# Autopilot takes no less than 1 GiB for each vCPU.
POD_HOUR = VCPUS * (VCPU_HOUR + GIB_HOUR)
KNATIVE_HOUR = 1.0 * (VCPU_HOUR + GIB_HOUR)

KEPT_S = 600
"""How long Lambda keeps an instance that nobody asks: it does not say; ten minutes are usual."""
AWAKE_S = 60 + 30
"""A pod sleeps after knative/base's window, and Knative's grace period."""
LEAST_PODS, MOST_CPU = 3, 0.5
"""knative/overlays/deployment: its three pods, and the part of its limit at which the autoscaler adds some."""


@dataclass(frozen=True)
class Measured:
    """Seconds: one request alone, the CPU time it takes, and Lambda's init phase."""

    request_s: float = 0.020
    cpu_s: float = 0.026
    init_s: float = 0.360


@dataclass(frozen=True)
class Traffic:
    """So many requests a month, evenly at random in so many of its hours."""

    requests: float
    hours: float = HOURS

    @property
    def per_s(self) -> float:
        return self.requests / (self.hours * 3600)

    def busy_hours(self, seconds: float) -> float:
        """Hours of a month that are less than `seconds` after a request."""
        return self.hours * (1 - math.exp(-self.per_s * seconds))


EVENLY, AT_WORK = HOURS, 22 * 8.0


def on_lambda(traffic: Traffic, measured: Measured) -> float:
    cold = math.exp(-traffic.per_s * KEPT_S)
    billed_s = math.ceil(measured.request_s * 1e3) / 1e3 + cold * measured.init_s
    return traffic.requests * (LAMBDA_REQUEST + billed_s * LAMBDA_GB * LAMBDA_GB_S)


def on_cloud_run(traffic: Traffic, measured: Measured) -> float:
    step_s = math.ceil(measured.request_s / CLOUD_RUN_STEP_S) * CLOUD_RUN_STEP_S
    hours = max(traffic.busy_hours(step_s), traffic.hours * _pods(traffic, measured))
    return traffic.requests * CLOUD_RUN_REQUEST + hours * 3600 * CLOUD_RUN_S


def on_knative(traffic: Traffic, measured: Measured) -> float:
    return max(traffic.busy_hours(AWAKE_S), traffic.hours * _pods(traffic, measured)) * POD_HOUR


def by_deployment(traffic: Traffic, measured: Measured) -> float:
    more = max(0.0, _pods(traffic, measured) / MOST_CPU - LEAST_PODS)
    return (HOURS * LEAST_PODS + traffic.hours * more) * POD_HOUR


def with_cluster(cost: Callable[[Traffic, Measured], float], extra_hour: float) -> Callable[[Traffic, Measured], float]:
    """The same where the cluster is there for it alone."""
    return lambda traffic, measured: cost(traffic, measured) + HOURS * (CLUSTER_HOUR + extra_hour)


PLACES: dict[str, Callable[[Traffic, Measured], float]] = {
    "Lambda": on_lambda,
    "Cloud Run": on_cloud_run,
    "Knative": on_knative,
    "Deployment": by_deployment,
    "Knative and its cluster": with_cluster(on_knative, KNATIVE_HOUR),
    "Deployment and its cluster": with_cluster(by_deployment, 0.0),
}
SIZES = (1e4, 1e5, 1e6, 1e7, 1e8, 1e9)
EVEN = (("Lambda", "Knative"), ("Lambda", "Knative and its cluster"), ("Lambda", "Deployment and its cluster"))


def table(hours: float, measured: Measured) -> str:
    """Markdown: dollars a month by requests a month, the fewest of each row in bold."""
    lines = ["| requests a month | " + " | ".join(PLACES) + " |", "| --- |" + " --- |" * len(PLACES)]
    for requests in SIZES:
        found = [cost(Traffic(requests, hours), measured) for cost in PLACES.values()]
        cells = [f"**{_dollars(each)}**" if each == min(found) else _dollars(each) for each in found]
        lines.append(f"| {_count(requests)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def even(cheaper: str, other: str, hours: float, measured: Measured) -> float:
    """Requests a month up to which the first is cheaper.

    Raises:
        ValueError: one of them always is.
    """

    def gap(exponent: float) -> float:
        traffic = Traffic(10**exponent, hours)
        return PLACES[cheaper](traffic, measured) - PLACES[other](traffic, measured)

    low, high = 3.0, 11.0
    if gap(low) >= 0 or gap(high) <= 0:
        raise ValueError(f"{cheaper} and {other} never cost the same")
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if gap(middle) < 0 else (low, middle)
    return float(10**low)


def evens(measured: Measured) -> str:
    """Markdown: where the cheaper one changes."""
    lines = ["| the same cost | evenly, all month | 8 hours on 22 days |", "| --- | --- | --- |"]
    for cheaper, other in EVEN:
        found = (_count(even(cheaper, other, hours, measured)) for hours in (EVENLY, AT_WORK))
        lines.append(f"| {cheaper}, {other} | " + " | ".join(found) + " |")
    return "\n".join(lines)


def _pods(traffic: Traffic, measured: Measured) -> float:
    """As many as have the CPU time."""
    return traffic.per_s * measured.cpu_s / VCPUS


def _dollars(amount: float) -> str:
    return f"{amount:,.2f}" if amount < 10 else f"{amount:,.0f}"


def _count(requests: float) -> str:
    for unit, name in ((1e9, " billion"), (1e6, " million")):
        if requests >= unit:
            return f"{requests / unit:.3g}{name}"
    return f"{requests:,.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.costs", description=__doc__.splitlines()[0])
    parser.add_argument("--request-ms", type=float, default=Measured.request_s * 1e3, help="one request alone (20)")
    parser.add_argument("--cpu-ms", type=float, default=Measured.cpu_s * 1e3, help="CPU time of a request (26)")
    arguments = parser.parse_args()
    measured = Measured(arguments.request_ms / 1e3, arguments.cpu_ms / 1e3)
    for when, hours in (("Evenly, all month", EVENLY), ("8 hours on 22 days", AT_WORK)):
        print(f"{when}, dollars:\n\n{table(hours, measured)}\n")
    print(evens(measured))


if __name__ == "__main__":
    main()
