"""Part 5: the images under `docker run --cpus N --memory 512m`; the limits alternate within each round."""

import sys
from dataclasses import dataclass

from tests.benchmark import load, made
from tests.benchmark.lineup import ENGINES, Places
from tests.benchmark.load import Load
from tests.benchmark.throughput import WARM_UP_S
from tests.docker.test_container import docker, running

CPUS = ("0.5", "1", "2")
CONCURRENCIES = (8, 32)
# As many runners as a process has that sees this machine's two cores and no quota.
UNAWARE = ("--env", "RUNNERS=2")
# Of the cgroup, with the files that it was the first to read: version 2, or 1.
PEAK = "cat /sys/fs/cgroup/memory.peak 2>/dev/null || cat /sys/fs/cgroup/memory/memory.max_usage_in_bytes"


@dataclass(frozen=True)
class Limited:
    """One round of one side: its loads, and the most memory that it had."""

    loads: list[Load]
    peak_mb: float


def limited(engine: str, cpus: str, *, is_aware: bool = True) -> str:
    return f"{engine}, --cpus {cpus}" + ("" if is_aware else ", 2 runners")


def measure(places: Places, rounds: int, seconds: float) -> dict[str, list[Limited]]:
    """The rounds of each side.

    Raises:
        MakeError: there is no image, and it cannot be built.
    """
    for engine in ENGINES:
        made.image(f"kindling:{engine}")
    sides: dict[str, tuple[str, str, tuple[str, ...]]]
    sides = {limited(engine, cpus): (engine, cpus, ()) for engine in ENGINES for cpus in CPUS}
    sides |= {limited(engine, "1", is_aware=False): (engine, "1", UNAWARE) for engine in ENGINES}
    found: dict[str, list[Limited]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides) if number % 2 == 0 else list(reversed(sides)):
            engine, cpus, options = sides[name]
            with running(f"kindling:{engine}", "--cpus", cpus, "--memory", "512m", *options) as (container, address):
                url = f"{address}/infer"
                load.post(url, places.jpeg, max(CONCURRENCIES), WARM_UP_S)
                loads = [load.post(url, places.jpeg, each, seconds) for each in CONCURRENCIES]
                peak_mb = round(int(docker("exec", container, "sh", "-c", PEAK)) / 1e6)
            found[name].append(Limited(loads, peak_mb))
            told = ", ".join(f"{each.per_s:.1f}/s at {each.concurrency}" for each in loads)
            print(f"  docker {number + 1}/{rounds}: {name}: {told}, {peak_mb} MB", file=sys.stderr, flush=True)
    return found
