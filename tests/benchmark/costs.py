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
from functools import partial

HOURS = 730.0

LAMBDA_MB, LAMBDA_GB_S, LAMBDA_REQUEST = 3538, 0.0000166667, 0.20e-6
ONE_VCPU_MB = 1769
CLOUD_RUN_VCPUS, CLOUD_RUN_REQUEST, CLOUD_RUN_STEP_S = 2, 0.40e-6, 0.1
CLOUD_RUN_S = CLOUD_RUN_VCPUS * 0.000024 + 1 * 0.0000025
CLUSTER_HOUR = 0.10
# Of one vCPU, and the least memory that Autopilot has for it, 1 GiB.
VCPU_HOUR = 0.0445 + 0.0049225
CONTROL_VCPUS = 1.0
"""Knative's own pods."""

KEPT_S = 600
"""How long Lambda keeps an instance that nobody asks: it does not say; ten minutes are usual."""
KNATIVE_VCPUS, AWAKE_S = 2, 60 + 300
"""knative/overlays/production: what a pod asks for; it sleeps after the window and the time for which it is retained."""
DEPLOYMENT_VCPUS, LEAST_PODS = 1, 3
"""knative/overlays/deployment: what a pod asks for, which is also the use at which the autoscaler adds one."""


@dataclass(frozen=True)
class Measured:
    """Seconds: one request alone, the CPU time it takes, and Lambda's init phase."""

    request_s: float = 0.017
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


def on_lambda(traffic: Traffic, measured: Measured, memory_mb: int = LAMBDA_MB) -> float:
    cold = math.exp(-traffic.per_s * KEPT_S)
    billed_s = math.ceil(measured.request_s * 1e3) / 1e3 + cold * measured.init_s
    return traffic.requests * (LAMBDA_REQUEST + billed_s * memory_mb / 1024 * LAMBDA_GB_S)


def on_cloud_run(traffic: Traffic, measured: Measured) -> float:
    step_s = math.ceil(measured.request_s / CLOUD_RUN_STEP_S) * CLOUD_RUN_STEP_S
    hours = max(traffic.busy_hours(step_s), traffic.hours * _cpus(traffic, measured) / CLOUD_RUN_VCPUS)
    return traffic.requests * CLOUD_RUN_REQUEST + hours * 3600 * CLOUD_RUN_S


def on_knative(traffic: Traffic, measured: Measured) -> float:
    one, more = traffic.busy_hours(AWAKE_S) * KNATIVE_VCPUS, traffic.hours * _cpus(traffic, measured)
    return max(one, more) * VCPU_HOUR


def by_deployment(traffic: Traffic, measured: Measured) -> float:
    least = LEAST_PODS * DEPLOYMENT_VCPUS
    return (HOURS * least + traffic.hours * max(0.0, _cpus(traffic, measured) - least)) * VCPU_HOUR


def with_cluster(cost: Callable[[Traffic, Measured], float], extra_hour: float) -> Callable[[Traffic, Measured], float]:
    """The same where the cluster is there for it alone."""
    return lambda traffic, measured: cost(traffic, measured) + HOURS * (CLUSTER_HOUR + extra_hour)


PLACES: dict[str, Callable[[Traffic, Measured], float]] = {
    "Lambda": on_lambda,
    "Lambda with 1 vCPU": partial(on_lambda, memory_mb=ONE_VCPU_MB),
    "Cloud Run": on_cloud_run,
    "Knative": on_knative,
    "Deployment": by_deployment,
    "Knative and its cluster": with_cluster(on_knative, CONTROL_VCPUS * VCPU_HOUR),
    "Deployment and its cluster": with_cluster(by_deployment, 0.0),
}
SIZES = (1e4, 1e5, 1e6, 1e7, 1e8, 1e9)
EVEN = (
    ("Lambda", "Knative"),
    ("Lambda", "Knative and its cluster"),
    ("Lambda", "Deployment and its cluster"),
    ("Lambda with 1 vCPU", "Knative"),
    ("Lambda with 1 vCPU", "Knative and its cluster"),
)


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
        lines.append(f"| {cheaper} = {other} | " + " | ".join(found) + " |")
    return "\n".join(lines)


def _cpus(traffic: Traffic, measured: Measured) -> float:
    """As many as are busy all the time."""
    return traffic.per_s * measured.cpu_s


def _dollars(amount: float) -> str:
    return f"{amount:,.2f}" if amount < 10 else f"{amount:,.0f}"


def _count(requests: float) -> str:
    for unit, name in ((1e9, " billion"), (1e6, " million")):
        if requests >= unit:
            return f"{requests / unit:.3g}{name}"
    return f"{requests:,.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.costs", description=__doc__.splitlines()[0])
    parser.add_argument("--request-ms", type=float, default=Measured.request_s * 1e3, help="one request alone (17)")
    parser.add_argument("--cpu-ms", type=float, default=Measured.cpu_s * 1e3, help="CPU time of a request (26)")
    arguments = parser.parse_args()
    measured = Measured(arguments.request_ms / 1e3, arguments.cpu_ms / 1e3)
    for when, hours in (("Evenly, all month", EVENLY), ("8 hours on 22 days", AT_WORK)):
        print(f"{when}, dollars:\n\n{table(hours, measured)}\n")
    print(evens(measured))


if __name__ == "__main__":
    main()
