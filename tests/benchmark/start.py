"""Part 1: process start to first correct prediction, phase by phase; the sides alternate within each round."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmark.lineup import Side
from tests.benchmark.process import Memory, running


@dataclass(frozen=True)
class Started:
    """One start. `phases_ms` is when each phase ended, by the side's own clock; `memory` after the first answer."""

    first_answer_ms: float
    phases_ms: dict[str, float]
    memory: Memory


def measure(sides: Sequence[Side], logs: Path, rounds: int) -> dict[str, list[Started]]:
    """The starts of each side. An extra round before them, not counted, fills the page cache.

    Raises:
        SideError: a side did not answer.
    """
    found: dict[str, list[Started]] = {}
    for number in range(rounds + 1):
        for side in sides:
            with running(side, logs) as server:
                first_answer_ms = server.wait_for_answer()
                memory = server.memory()
            if number:
                started = Started(round(first_answer_ms, 1), server.phases_ms(), memory)
                found.setdefault(side.name, []).append(started)
        told = ", ".join(f"{name} {each[-1].first_answer_ms:.0f} ms" for name, each in found.items())
        print(f"  start {number}/{rounds}: {told or 'page cache filled'}", file=sys.stderr, flush=True)
    return found
