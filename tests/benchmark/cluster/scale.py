"""Part 2: a service at one pod gets load; the time until a second pod has answered."""

import sys
import time
from dataclasses import dataclass

from tests.benchmark.cluster.cold import FAULTS, Deployed, wait_for_zero
from tests.benchmark.cluster.environment import BenchmarkError, wait_until_quiet
from tests.benchmark.cluster.timeline import Account
from tests.benchmark.cluster.watch import Seen, Watch, watching
from tests.cluster.load import Load
from tests.support.eventually import eventually

CLIENTS = 8
DEADLINE_S = 60.0


@dataclass(frozen=True)
class Grown:
    """The first pod that was made for the load, in ms since that began; the requests asked until then, and failed."""

    created_ms: float
    ready_ms: float
    answered_ms: float
    asked: int
    failed: int
    busy: float


def measure(deployed: Deployed, rounds: int, missing: list[str]) -> list[Grown]:
    """One for each round that succeeded; the others are named in `missing`."""
    found = []
    for number in range(rounds):
        try:
            wait_for_zero(deployed.cluster)
            grown = _grow(deployed)
        except FAULTS as fault:
            missing.append(f"{deployed.side.name}, second pod {number + 1}: {fault}")
            print(f"    {missing[-1]}", file=sys.stderr, flush=True)
            continue
        found.append(grown)
        print(
            f"  scale {number + 1}/{rounds}: created {grown.created_ms:.0f} ms, ready {grown.ready_ms:.0f} ms, "
            f"answered {grown.answered_ms:.0f} ms; {grown.failed} of {grown.asked} requests failed",
            file=sys.stderr, flush=True,
        )  # fmt: skip
    return found


def _grow(deployed: Deployed) -> Grown:
    assert deployed.side.body is not None
    cluster, service = deployed.cluster, deployed.side.service
    wait_until_quiet()
    deployed.ask()
    eventually(lambda: len(cluster.ready_pods(service)) == 1, DEADLINE_S, "one ready pod")
    # Before it falls asleep again.
    busy = wait_until_quiet(deadline_s=5.0)
    (first,) = (pod.metadata.name for pod in cluster.ready_pods(service))
    with watching(cluster, service) as watch:
        began_s = time.time()
        with Load(deployed.route, deployed.side.body.read(), "espresso", CLIENTS) as load:
            pod, account = _second(deployed, watch, first)
    times = (pod.created_s, pod.ready_s, account.answered_unix_s)
    created_ms, ready_ms, answered_ms = (round((each - began_s) * 1e3, 1) for each in times)
    return Grown(created_ms, ready_ms, answered_ms, len(load.asked), len(load.failed), busy)


def _second(deployed: Deployed, watch: Watch, first: str) -> tuple[Seen, Account]:
    """The first of the new pods that has answered."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        # Asking costs the cores that the pods share: once in a while, and only pods that are ready.
        time.sleep(0.5)
        for pod in watch.pods:
            if pod.ready_s and pod.name != first and (account := deployed.account(pod.name)):
                return pod, account
    raise BenchmarkError(f"no second pod answered within {DEADLINE_S:.0f} s of load")
