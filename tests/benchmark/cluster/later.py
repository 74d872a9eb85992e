"""Part 4: events and requests in turn, requests beside a flood of events, and answers later beside answers at once.

Both services of overlays/kind-async, one pod each.
"""

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from statistics import median, quantiles

from tests.benchmark.cluster.cold import FAULTS
from tests.benchmark.cluster.environment import BenchmarkError, wait_until_quiet
from tests.benchmark.photo import Body, is_espresso
from tests.cluster.asynchronous import Async
from tests.support.serving import Answer

CLIENTS = 8
WARM_UP_S, LEAD_S = 3.0, 1.0
ASKED = 30


@dataclass(frozen=True)
class Later:
    """One round: answers a second of each kind, and p99 of one interactive client; then times in ms, medians."""

    requests_per_s: float
    events_per_s: float
    brokered_per_s: float
    alone_p99_ms: float
    beside_events_p99_ms: float
    beside_requests_p99_ms: float
    at_once_ms: float
    result_ms: float


def measure(deployed: Async, jpeg: Body, rounds: int, seconds: float, missing: list[str]) -> list[Later]:
    """The rounds until one fails, which is then named in `missing`."""
    found: list[Later] = []
    try:
        _interactive(deployed, jpeg, WARM_UP_S)
        deployed.event_load(CLIENTS, WARM_UP_S)
        for number in range(rounds):
            found.append(_round(deployed, jpeg, seconds))
            print(f"  later {number + 1}/{rounds}: {found[-1]}", file=sys.stderr, flush=True)
    except FAULTS as fault:
        missing.append(f"later, round {len(found) + 1}: {fault}")
        print(f"    {missing[-1]}", file=sys.stderr, flush=True)
    return found


def _round(kindling: Async, jpeg: Body, seconds: float) -> Later:
    wait_until_quiet()
    requests = kindling.request_load("kindling-worker", CLIENTS, seconds)
    wait_until_quiet()
    events = kindling.event_load(CLIENTS, seconds, f"{kindling.inside('kindling-worker')}/events")
    wait_until_quiet()
    brokered = kindling.event_load(CLIENTS, seconds)
    wait_until_quiet()
    alone = _interactive(kindling, jpeg, seconds)
    with ThreadPoolExecutor(1) as flood:
        flooding = flood.submit(kindling.event_load, CLIENTS, seconds + 2 * LEAD_S)
        beside_events = _interactive(kindling, jpeg, seconds, LEAD_S)
        flooding.result()
    with ThreadPoolExecutor(1) as flood:
        flooding = flood.submit(kindling.request_load, "kindling", CLIENTS, seconds + 2 * LEAD_S)
        beside_requests = _interactive(kindling, jpeg, seconds, LEAD_S)
        flooding.result()
    wait_until_quiet()
    at_once, later = zip(*(_at_once_and_later(kindling, jpeg) for _ in range(ASKED)), strict=True)
    return Later(
        len(requests) / seconds, len(events) / seconds, len(brokered) / seconds,
        _p99(alone), _p99(beside_events), _p99(beside_requests), median(at_once), median(later),
    )  # fmt: skip


def _interactive(kindling: Async, jpeg: Body, seconds: float, lead_s: float = 0.0) -> list[float]:
    """The times in ms of one client that asks again and again, through the public route, after `lead_s`."""
    time.sleep(lead_s)
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        times.append(_timed(partial(_ask, kindling, jpeg)))
    return times


def _at_once_and_later(kindling: Async, jpeg: Body) -> tuple[float, float]:
    """How long a request takes; and, when it is answered later, from the 202 to the result."""
    at_once = _timed(partial(_ask, kindling, jpeg))
    job = _ask(kindling, jpeg, {"Prefer": "respond-async"}).headers["Location"]
    return at_once, _timed(lambda: _correct(kindling.route.call("GET", f"{job}/result", headers={"Prefer": "wait=20"})))


def _ask(kindling: Async, jpeg: Body, headers: dict[str, str] | None = None) -> Answer:
    answer = kindling.route.call("POST", "/infer", jpeg.read(), {"Content-Type": jpeg.content_type, **(headers or {})})
    return answer if answer.status == 202 else _correct(answer)


def _correct(answer: Answer) -> Answer:
    if answer.status != 200 or not is_espresso(answer.body):
        raise BenchmarkError(f"kindling answered {answer.status}: {answer.body[:200]!r}")
    return answer


def _timed(ask: Callable[[], object]) -> float:
    began = time.monotonic()
    ask()
    return (time.monotonic() - began) * 1e3


def _p99(times: list[float]) -> float:
    return quantiles(times, n=100)[-1]
