"""Part 2: every side under load, one at a time, and what it holds in memory; they alternate within each round."""

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmark import load
from tests.benchmark.lineup import ENGINES, HELLO, Places, Side, loop, ours, peers, services
from tests.benchmark.load import Load, LoadError
from tests.benchmark.photo import Body
from tests.benchmark.process import Memory, Running, SideError, running

if TYPE_CHECKING:
    from collections.abc import Callable

CONCURRENCIES = (1, 8, 32)
WARM_UP_S = 1.0


@dataclass(frozen=True)
class Served:
    """One round of one side. The in-process loop has no start, and one load that stands for every concurrency."""

    loads: list[Load]
    memory_first: Memory | None
    memory_loaded: Memory
    first_answer_ms: float | None = None

    def at(self, concurrency: int) -> Load:
        return next((each for each in self.loads if each.concurrency == concurrency), self.loads[0])


def measure(
    places: Places, logs: Path, rounds: int, seconds: float, missing: list[str]
) -> dict[str, list[Served | None]]:
    """The rounds of each side; None where it failed, which is then named in `missing`."""
    tasks = _tasks(places, logs, seconds)
    found: dict[str, list[Served | None]] = {name: [] for name in tasks}
    for number in range(rounds):
        # There and back again: what drifts over minutes meets first and last alike.
        for name in list(tasks) if number % 2 == 0 else list(reversed(tasks)):
            try:
                served = tasks[name]()
            except (SideError, LoadError) as fault:
                missing.append(f"{name}, round {number + 1} under load: {fault}")
                found[name].append(None)
                continue
            found[name].append(served)
            told = ", ".join(f"{each.per_s:.1f}/s at {each.concurrency or 'any'}" for each in served.loads)
            print(f"  throughput {number + 1}/{rounds}: {name}: {told}", file=sys.stderr, flush=True)
    return found


def _tasks(places: Places, logs: Path, seconds: float) -> "dict[str, Callable[[], Served]]":
    """One round of each side, in order: the loop right beside the service that is measured against it."""
    tasks: dict[str, Callable[[], Served]] = {}
    for side in (*services(places), *peers(places)):
        for engine in ENGINES:
            if side.name == ours(engine):
                tasks[loop(engine)] = partial(_loop, places, engine, seconds)
        if side.name != HELLO:
            tasks[side.name] = partial(_serve, side, logs, seconds)
    return tasks


def _serve(side: Side, logs: Path, seconds: float) -> Served:
    assert side.body is not None
    with running(side, logs) as server:
        first_answer_ms = server.wait_for_answer()
        memory_first = server.memory()
        load.post(server.url, side.body, max(CONCURRENCIES), WARM_UP_S)
        loads = [_load(server, side.body, concurrency, seconds) for concurrency in CONCURRENCIES]
        if not server.ask():
            raise SideError(f"{side.name} gave a wrong answer after the load: {server.last_words()}")
        return Served(loads, memory_first, server.memory(), round(first_answer_ms, 1))


def _load(server: Running, body: Body, concurrency: int, seconds: float) -> Load:
    before = server.cpu_s()
    found = load.post(server.url, body, concurrency, seconds)
    served = max(1.0, found.per_s * seconds)
    return replace(found, cpu_ms=round((server.cpu_s() - before) * 1e3 / served, 1))


def _loop(places: Places, engine: str, seconds: float) -> Served:
    command = [sys.executable, "-m", "tests.benchmark.sides.in_process", str(places.artifacts[engine])]
    done = subprocess.run([*command, str(places.jpeg.path), str(seconds)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SideError((done.stderr.strip() or "it said nothing").splitlines()[-1])
    said = json.loads(done.stdout)
    return Served([Load(0, said["per_s"], 0.0, 0.0, 0, said["cpu_ms"])], None, Memory(**said["memory"]))
