"""Part 3: p50 and p99 through the route, each predicting side kept at one pod, one of them under load at a time."""

import sys
from dataclasses import dataclass

from tests.benchmark import load
from tests.benchmark.cluster.cold import Deployed
from tests.benchmark.cluster.environment import BenchmarkError, wait_until_quiet
from tests.benchmark.load import Load, LoadError
from tests.cluster import knative

CONCURRENCIES = (1, 8)
WARM_UP_S = 2.0


@dataclass(frozen=True)
class Warm:
    """One round of one side: a load for each concurrency."""

    loads: list[Load]

    def at(self, concurrency: int) -> Load:
        return next(each for each in self.loads if each.concurrency == concurrency)


def measure(deployed: list[Deployed], rounds: int, seconds: float, missing: list[str]) -> dict[str, list[Warm | None]]:
    """The rounds of each side; None where it failed, which is then named in `missing`."""
    found: dict[str, list[Warm | None]] = {each.side.name: [] for each in deployed}
    for number in range(rounds):
        for each in deployed if number % 2 == 0 else reversed(deployed):
            name = each.side.name
            try:
                warm = _serve(each, seconds)
            except (BenchmarkError, LoadError) as fault:
                missing.append(f"{name}, round {number + 1} under load: {fault}")
                found[name].append(None)
                print(f"    {missing[-1]}", file=sys.stderr, flush=True)
                continue
            found[name].append(warm)
            told = ", ".join(f"{at.p50_ms:.0f}/{at.p99_ms:.0f} ms at {at.concurrency}" for at in warm.loads)
            print(f"  warm {number + 1}/{rounds}: {name}: p50/p99 {told}", file=sys.stderr, flush=True)
    return found


def _serve(deployed: Deployed, seconds: float) -> Warm:
    body, host = deployed.side.body, deployed.route.host
    assert body is not None
    wait_until_quiet()
    address, port = knative.GATEWAY
    url = f"http://{address}:{port}{deployed.side.path}"
    load.post(url, body, max(CONCURRENCIES), WARM_UP_S, host)
    loads = [load.post(url, body, concurrency, seconds, host) for concurrency in CONCURRENCIES]
    deployed.ask()
    return Warm(loads)
