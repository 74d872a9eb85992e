"""Part 1: one request to each side at zero pods, round after round, each round in the other order."""

import random
import sys
import time
from contextlib import suppress
from dataclasses import dataclass

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from tests.benchmark.cluster import timeline
from tests.benchmark.cluster.environment import BenchmarkError, wait_until_quiet
from tests.benchmark.cluster.lineup import Side
from tests.benchmark.cluster.timeline import Account, Wake
from tests.benchmark.cluster.watch import watching
from tests.cluster.knative import Cluster, Route
from tests.support.eventually import eventually

ZERO_DEADLINE_S = 240.0
ACCOUNT_DEADLINE_S = 10.0
FAULTS = (BenchmarkError, AssertionError, ApiException, HTTPError)
"""What one round may die of, and the next one need not."""


@dataclass(frozen=True)
class Place:
    """A namespace, and the name in the cluster of each local image."""

    cluster: Cluster
    images: dict[str, str]


@dataclass(frozen=True)
class Deployed:
    """A side in the cluster."""

    side: Side
    cluster: Cluster
    route: Route

    def ask(self) -> None:
        """One request.

        Raises:
            BenchmarkError: it was not answered, or not correctly.
        """
        try:
            answer = self.side.ask(self.route)
        except OSError as fault:
            raise BenchmarkError(f"{self.side.name} gave no answer: {fault!r}") from None
        if not self.side.is_correct(answer):
            raise BenchmarkError(f"{self.side.name} answered {answer.status}: {answer.body[:200]!r}")

    def account(self, pod: str) -> Account | None:
        """What the pod's process says of its start; None before its first answer, and while it cannot be asked."""
        with suppress(ApiException):
            if not self.side.is_ours:
                return timeline.of_log(self.cluster.logs(pod))
            return timeline.of_metrics(_metrics(self.cluster, pod))
        return None


def deploy(place: Place, wanted: list[Side]) -> list[Deployed]:
    """Each side, ready, and asked once.

    Raises:
        BenchmarkError: one is not ready in time, or its answer is wrong.
    """
    for side in wanted:
        place.cluster.apply(side.manifest(place.images[side.image]))
    found = []
    for side in wanted:
        try:
            found.append(Deployed(side, place.cluster, place.cluster.wait_ready(side.service)))
        except AssertionError as fault:
            raise BenchmarkError(str(fault)) from None
        found[-1].ask()
        print(f"  {side.name} is ready", file=sys.stderr, flush=True)
    return found


def measure(deployed: list[Deployed], rounds: int, missing: list[str]) -> dict[str, list[Wake | None]]:
    """The wakes of each side; None where it failed, which is then named in `missing`."""
    found: dict[str, list[Wake | None]] = {each.side.name: [] for each in deployed}
    for number in range(rounds):
        try:
            zero_s = wait_for_zero(deployed[0].cluster)
            print(f"  cold {number + 1}/{rounds}: at zero after {zero_s:.0f} s", file=sys.stderr, flush=True)
        except FAULTS as fault:
            missing.append(f"cold round {number + 1}: {fault}")
            continue
        for each in deployed if number % 2 == 0 else reversed(deployed):
            name = each.side.name
            try:
                wake = _wake(each)
            except FAULTS as fault:
                wake = None
                missing.append(f"{name}, cold request {number + 1}: {fault}")
            found[name].append(wake)
            print(f"    {name}: {_told(wake) if wake else missing[-1]}", file=sys.stderr, flush=True)
    return found


def _told(wake: Wake) -> str:
    parts = ", ".join(f"{phase} {ms:.0f}" for phase, ms in wake.spans_ms.items())
    return f"{wake.total_ms:.0f} ms ({parts}; CPUs {wake.busy:.0%} busy before)"


def wait_for_zero(cluster: Cluster) -> float:
    """Seconds until the namespace has no pod left, those on their way out included.

    Raises:
        BenchmarkError: it still has.
    """
    began = time.monotonic()
    while left := cluster.core.list_namespaced_pod(cluster.namespace).items:
        if time.monotonic() - began > ZERO_DEADLINE_S:
            raise BenchmarkError(
                f"{left[0].metadata.name} is still there after {ZERO_DEADLINE_S:.0f} s without requests"
            )
        # Seldom: this is work for the cores that the pods need to end.
        time.sleep(1)
    return time.monotonic() - began


def _wake(deployed: Deployed) -> Wake:
    busy = wait_until_quiet()
    # An answer comes right after the kubelet has looked at its containers, which it does once a second: without this
    # delay every request would meet it at the same moment.
    time.sleep(random.random())
    with watching(deployed.cluster, deployed.side.service) as watch:
        sent_s = time.time()
        deployed.ask()
        answered_s = time.time()
        eventually(lambda: any(each.addressed_s for each in watch.pods), ACCOUNT_DEADLINE_S, "the pod's address")
    pod, *others = watch.pods
    if others:
        raise BenchmarkError(f"there were {len(watch.pods)} pods for one request")
    accounts: list[Account] = []

    def is_told() -> bool:
        accounts.extend(filter(None, [deployed.account(pod.name)]))
        return bool(accounts)

    eventually(is_told, ACCOUNT_DEADLINE_S, "the account of the start")
    spans_ms = timeline.split(sent_s, pod.created_s, pod.addressed_s, answered_s, accounts[0])
    return Wake(round((answered_s - sent_s) * 1e3, 1), spans_ms, busy)


def _metrics(cluster: Cluster, pod: str) -> str:
    """Kindling's counters, asked of one pod past the route, so that the autoscaler does not count it."""
    answer = cluster.core.connect_get_namespaced_pod_proxy_with_path(
        f"{pod}:8080", cluster.namespace, path="metrics", _preload_content=False
    )
    return str(answer.data.decode())
