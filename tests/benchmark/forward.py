"""Part 3: both engines without HTTP, with the same runners, in processes that alternate."""

import sys
from dataclasses import dataclass

from model import pictures
from model.artifact import Artifact
from model.measure import measure as measure_engine
from service.runtime import cpu
from service.runtime.engine.interface import Plan
from tests.benchmark.lineup import ENGINES, Places


@dataclass(frozen=True)
class Forward:
    """One process: milliseconds of one run while all runners are busy, and what they do together."""

    run_ms: float
    per_s: float


def measure(places: Places, rounds: int) -> dict[str, list[Forward]]:
    """A single image a run, on one thread, a run for each core.

    Raises:
        RuntimeError: with what a process said.
    """
    found: dict[str, list[Forward]] = {engine: [] for engine in ENGINES}
    plan = Plan(runners=cpu.quota(), threads=1, max_batch_size=1)
    for number in range(rounds):
        for engine in ENGINES if number % 2 == 0 else reversed(ENGINES):
            spec = Artifact.read(places.artifacts[engine]).image
            assert spec is not None
            report = measure_engine(places.artifacts[engine], plan, [(pictures.items(spec)[0],)])
            found[engine].append(Forward(report.run_ms, report.items_per_s))
        told = ", ".join(f"{engine} {each[-1].run_ms:.1f} ms" for engine, each in found.items())
        print(f"  forward {number + 1}/{rounds}: {told}", file=sys.stderr, flush=True)
    return found
